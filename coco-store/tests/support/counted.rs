//! A store that counts what it does, in a file or on a server.

use coco_core::store::{Committed, Lease, Outcome, Step, Store};
use coco_store::{Options, SeaOrmStore, Statistics};

use crate::support::{Place, run};

/// Makes a test for each database of each of these.
macro_rules! on_each_database {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use crate::counted::Kind;

            #[tokio::test]
            async fn on_sqlite() {
                super::$name(Kind::Sqlite).await;
            }

            #[cfg(feature = "postgres")]
            #[tokio::test]
            async fn on_postgres() {
                super::$name(Kind::Postgres).await;
            }
        }
    )+ };
}
pub(crate) use on_each_database;

/// Which database; and what costs differ by, on purpose.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

#[allow(dead_code, reason = "each test needs some of it")]
impl Kind {
    /// Statements of a batch that asks for locks or lets go of them: a server has several engines,
    /// so it takes the turn, and reads then how long the line is. In a file both are in the fence.
    pub(crate) const fn turn(self) -> u64 {
        match self {
            Self::Sqlite => 0,
            #[cfg(feature = "postgres")]
            Self::Postgres => 2,
        }
    }

    /// Statements that find which events were new, where some were not: a server says it when they
    /// are written.
    pub(crate) const fn news(self) -> u64 {
        match self {
            Self::Sqlite => 1,
            #[cfg(feature = "postgres")]
            Self::Postgres => 0,
        }
    }
}

/// An empty database, and an engine that owns it.
#[allow(dead_code, reason = "each test needs some of it")]
pub(crate) struct Counted {
    pub(crate) store: SeaOrmStore,
    pub(crate) lease: Lease,
    pub(crate) kind: Kind,
    home: Home,
}

enum Home {
    File(Place),
    #[cfg(feature = "postgres")]
    Server(coco_store::TestDatabase),
}

#[allow(dead_code, reason = "each test needs some of it")]
impl Counted {
    pub(crate) async fn open(kind: Kind) -> Self {
        let options = Options::default();
        let (store, home) = match kind {
            Kind::Sqlite => {
                let place = Place::new();
                (place.open_with(options).await, Home::File(place))
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres => {
                let database = coco_store::TestDatabase::create().await;
                // No heartbeat is counted.
                let options = options.lease(std::time::Duration::from_secs(600));
                let store = SeaOrmStore::connect_with(database.address(), options).await;
                (store.expect("failed to connect"), Home::Server(database))
            }
        };
        let lease = store.acquire().await.unwrap();
        Self { store, lease, kind, home }
    }

    /// Says `sql` to the database behind the back of the store; `ID(n)` in it is an identity.
    pub(crate) async fn say(&self, sql: &str) {
        match &self.home {
            Home::File(place) => {
                let sql = sql.replace("ID(n)", "unhex(printf('%032x', n))");
                run(&mut place.stranger().await, sql).await;
            }
            #[cfg(feature = "postgres")]
            Home::Server(database) => {
                use sea_orm::sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
                let sql = sql.replace("ID(n)", "lpad(to_hex(n), 32, '0')::uuid");
                let mut stranger = PgConnection::connect(database.address()).await.unwrap();
                raw_sql(AssertSqlSafe(sql.clone())).execute(&mut stranger).await.expect(&sql);
            }
        }
    }

    /// What a batch comes to, and what it costs beside `BEGIN`, the fence and `COMMIT`.
    pub(crate) async fn commit(&self, steps: Vec<Step>) -> (Committed, Statistics) {
        let before = self.store.statistics();
        let committed = self.store.commit(&self.lease, steps.into()).await.unwrap();
        let after = self.store.statistics();
        let cost = Statistics {
            commits: after.commits - before.commits,
            statements: after.statements - before.statements - 3,
            rows: after.rows - before.rows,
        };
        assert_eq!(cost.commits, 1);
        (committed, cost)
    }

    /// What a batch costs that is applied.
    pub(crate) async fn cost(&self, steps: Vec<Step>) -> Statistics {
        let (committed, cost) = self.commit(steps).await;
        let mut outcomes = committed.outcomes.iter();
        assert!(outcomes.all(|outcome| *outcome == Outcome::Applied), "{committed:?}");
        cost
    }
}
