//! A database of its own for each test, on a real server.

use std::env;
use std::fs;
use std::process;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::UNIX_EPOCH;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

use crate::SeaOrmStore;

/// Where tests find the server.
const SERVER: &str = "COCO_TEST_POSTGRES_URL";

/// An empty database of a PostgreSQL server, which is dropped with this.
///
/// The server is the one that the variable `COCO_TEST_POSTGRES_URL` names; its user must be allowed
/// to create databases.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    address: String,
}

impl TestDatabase {
    /// Creates one, as a copy of one that has the tables already: that one is made once for each
    /// program of tests, and stays.
    ///
    /// # Panics
    /// When there is no such variable, or the server does not create one.
    pub async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("coco_test_{}_{number}", process::id());
        run(format!("CREATE DATABASE {name} TEMPLATE {}", template())).await;
        let address = in_database(&name).to_url_lossy().to_string();
        Self { name, address }
    }

    /// What [`SeaOrmStore::connect`](crate::SeaOrmStore::connect) takes.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = ORDERS.send(Order { sql, reply });
    }
}

fn server() -> String {
    env::var(SERVER).unwrap_or_else(|_| {
        panic!(
            "tests on PostgreSQL need a server: run `tests/run`, or say where one is in {SERVER}"
        )
    })
}

/// The database that is copied; another one for each build.
fn template() -> String {
    let program = env::current_exe().and_then(fs::metadata).expect("the program of this process");
    let built = program.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    format!("coco_template_{}", built.unwrap_or_default().as_micros())
}

fn in_database(name: &str) -> PgConnectOptions {
    let server: PgConnectOptions = server().parse().expect("an address of a server");
    server.database(name).disable_statement_logging()
}

struct Order {
    sql: String,
    reply: oneshot::Sender<()>,
}

async fn run(sql: String) {
    let (reply, answer) = oneshot::channel();
    let _ = ORDERS.send(Order { sql, reply });
    answer.await.expect("the server makes a database");
}

/// One thread does it for all tests: each of them has a runtime of its own, which ends with it.
static ORDERS: LazyLock<mpsc::UnboundedSender<Order>> = LazyLock::new(|| {
    let (sender, mut orders) = mpsc::unbounded_channel::<Order>();
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let options: PgConnectOptions = server().parse().expect("an address of a server");
            let connection = PgConnection::connect_with(&options.disable_statement_logging()).await;
            let mut connection = connection.expect("failed to connect to the server of the tests");
            make_template(&mut connection).await;
            while let Some(Order { sql, reply }) = orders.recv().await {
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut connection)
                    .await
                    .expect("it is done");
                let _ = reply.send(());
            }
        });
    });
    sender
});

/// Makes the database that is copied, where no other process has.
async fn make_template(connection: &mut PgConnection) {
    let template = template();
    let say = async |connection: &mut PgConnection, sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await
    };
    say(connection, "SELECT pg_advisory_lock(1668243311, 3)".to_owned()).await.expect("its turn");
    let known = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(&template);
    if known.fetch_optional(&mut *connection).await.expect("it is known").is_none() {
        say(connection, format!("CREATE DATABASE {template}")).await.expect("a database");
        let address = in_database(&template).to_url_lossy();
        // Nobody may be connected to what is copied.
        let store = SeaOrmStore::connect(address.as_str()).await.expect("it gets its tables");
        store.close().await;
    }
    say(connection, "SELECT pg_advisory_unlock(1668243311, 3)".to_owned()).await.expect("done");
}
