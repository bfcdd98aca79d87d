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
        let file = Path::new(&data).join("postgresql.conf");
        let chosen = fs::read_to_string(&file).expect("the settings") + &settings;
        fs::write(file, chosen).expect("the settings");
        cluster.begin().await;
        cluster
    }

    pub(crate) fn address(&self) -> String {
        format!("postgres://coco@127.0.0.1:{}/postgres", self.port)
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
