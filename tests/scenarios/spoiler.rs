//! Somebody who writes into the file of a store what no store would.

use coco_core::CommandId;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, Row};

use super::home::Home;

const TABLES: [&str; 4] = ["command_entities", "once_results", "sleeps", "compensations"];

/// A column of some rows of a tree, and the SQL of what is put there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) table: &'static str,
    /// The rows: a condition.
    pub(crate) which: &'static str,
    pub(crate) column: &'static str,
    pub(crate) value: &'static str,
}

/// Has the file open, and knows which rows were those of a tree.
pub(crate) struct Spoiler {
    connection: SqliteConnection,
}

impl Spoiler {
    pub(crate) async fn new(home: &Home, root: CommandId) -> Self {
        let options = SqliteConnectOptions::new().filename(home.file()).foreign_keys(false);
        let connection = SqliteConnection::connect_with(&options).await.expect("the file opens");
        let mut spoiler = Self { connection };
        spoiler.run("CREATE TEMP TABLE rows_of_tree (name, id)".to_owned()).await;
        spoiler.run("CREATE TEMP TABLE sound (id, value)".to_owned()).await;
        let root = root.as_uuid().simple();
        for table in TABLES {
            spoiler
                .run(format!(
                    "INSERT INTO rows_of_tree \
                     SELECT '{table}', rowid FROM {table} WHERE root_command_id = x'{root}'"
                ))
                .await;
        }
        spoiler
    }

    /// Every column may be null from then on, if that is what is put there.
    pub(crate) async fn spoil(&mut self, spot: Spot) {
        let Spot { table, which, column, value } = spot;
        if value == "NULL" {
            self.run(format!(
                "PRAGMA writable_schema = ON; \
                 UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = '{table}'; \
                 PRAGMA writable_schema = RESET"
            ))
            .await;
        }
        let rows = format!("SELECT id FROM rows_of_tree WHERE name = '{table}'");
        self.run(format!(
            "INSERT INTO sound \
             SELECT rowid, {column} FROM {table} WHERE rowid IN ({rows}) AND {which}; \
             UPDATE {table} SET {column} = {value} WHERE rowid IN (SELECT id FROM sound)"
        ))
        .await;
    }

    /// Puts back what was there.
    pub(crate) async fn repair(&mut self, spot: Spot) {
        let Spot { table, column, .. } = spot;
        self.run(format!(
            "UPDATE {table} SET {column} = (SELECT value FROM sound WHERE id = {table}.rowid) \
             WHERE rowid IN (SELECT id FROM sound)"
        ))
        .await;
    }

    /// The rows of the tree, to the byte.
    pub(crate) async fn rows(&mut self) -> Vec<String> {
        let mut rows = Vec::new();
        for table in TABLES {
            let sql = format!(
                "SELECT 'typeof(' || name || ') || hex(' || name || ')' \
                 FROM pragma_table_info('{table}')"
            );
            let columns = self.texts(sql).await.join(" || ' ' || ");
            let sql = format!(
                "SELECT {columns} FROM {table} \
                 WHERE rowid IN (SELECT id FROM rows_of_tree WHERE name = '{table}')"
            );
            let found = self.texts(sql).await;
            assert!(!found.is_empty(), "nothing of the tree is in {table}");
            rows.extend(found);
        }
        rows
    }

    async fn texts(&mut self, sql: String) -> Vec<String> {
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await;
        rows.expect("the rows are read").iter().map(|row| row.get(0)).collect()
    }

    async fn run(&mut self, sql: String) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        done.expect("the file is written");
    }
}
