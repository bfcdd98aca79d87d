//! A server of a test's own, which it stops and starts.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

pub(crate) struct Cluster {
    programs: PathBuf,
    home: TempDir,
    port: u16,
}

/// How it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// It closes the connections, and stops in order.
    Fast,
    /// As if it had died: it recovers when it starts again.
    Immediate,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
        let unused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = unused.expect("a port").port();
        let cluster = Self { programs: programs().await, home, port };
        let data = cluster.data();
        let arguments =
            ["-U", "coco", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
        cluster.run("initdb", &[&arguments[..], &[&data]].concat()).await;
        let settings = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
             fsync = off\nfull_page_writes = off\nshared_buffers = 16MB\nwal_writer_delay = 10s\n"
        );
        cluster.set(&settings);
        cluster.begin().await;
        cluster
    }

    /// Takes settings for the next time that it begins.
    fn set(&self, settings: &str) {
        let file = Path::new(&self.data()).join("postgresql.conf");
        let chosen = fs::read_to_string(&file).expect("the settings") + settings;
        fs::write(file, chosen).expect("the settings");
    }

    /// Begins again, and offers TLS from then on, with a certificate for `name` that nobody else has
    /// signed. Gives its file.
    #[cfg(feature = "tls")]
    pub(crate) async fn offer_tls(&self, name: &str) -> String {
        let certificate = self.home.path().join("server.crt").display().to_string();
        let wishes = self.home.path().join("server.cnf").display().to_string();
        let key = self.home.path().join("server.key").display().to_string();
        let subject = format!(
            "[req]\ndistinguished_name = name\nprompt = no\nx509_extensions = of_server\n\
             [name]\nCN = {name}\n[of_server]\nsubjectAltName = DNS:{name}\n"
        );
        fs::write(&wishes, subject).expect("what the certificate says");
        // An absolute path is none of the server's programs.
        let openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
        let files = ["-config", &wishes, "-keyout", &key, "-out", &certificate];
        self.run("/usr/bin/env", &[&openssl[..], &files].concat()).await;
        self.end(End::Fast).await;
        self.set(&format!("ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n"));
        self.begin().await;
        certificate
    }

    pub(crate) fn address(&self) -> String {
        self.address_at("127.0.0.1")
    }

    /// Its address, with another name for its machine.
    pub(crate) fn address_at(&self, host: &str) -> String {
        format!("postgres://coco@{host}:{}/postgres", self.port)
    }

    pub(crate) async fn begin(&self) {
        let log = format!("{}.log", self.data());
        self.run("pg_ctl", &["-D", &self.data(), "-l", &log, "-w", "start"]).await;
    }

    pub(crate) async fn end(&self, end: End) {
        let mode = match end {
            End::Fast => "fast",
            End::Immediate => "immediate",
        };
        self.run("pg_ctl", &["-D", &self.data(), "-m", mode, "-w", "stop"]).await;
    }

    fn data(&self) -> String {
        self.home.path().join("data").display().to_string()
    }

    async fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = self.command(program);
        // What it starts would keep a pipe open.
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().await.expect(program);
        assert!(status.success(), "{program} {arguments:?}: {status}");
    }

    /// The server refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let owner =
            fs::metadata("/proc/self").map(|this| std::os::unix::fs::MetadataExt::uid(&this));
        if owner.is_ok_and(|owner| owner == 0) {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.home.path().join("data/postmaster.pid"));
        let Some(pid) = pid.ok().and_then(|pid| pid.lines().next().map(str::to_owned)) else {
            return;
        };
        // It removes the file when it is through.
        let _ = std::process::Command::new("kill").args(["-INT", &pid]).status();
        let is_there = || Path::new("/proc").join(&pid).exists();
        while is_there() {
            std::thread::yield_now();
        }
    }
}

/// Where they are, as `tests/postgres` finds them.
async fn programs() -> PathBuf {
    let found =
        "readlink -f \"$(command -v pg_ctl || ls /usr/lib/postgresql/*/bin/pg_ctl | tail -1)\"";
    let found = Command::new("sh").args(["-c", found]).output().await.expect("a shell");
    let path = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    path.parent().expect("the programs of PostgreSQL are installed").to_owned()
}
