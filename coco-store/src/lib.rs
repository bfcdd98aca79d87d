//! Stores the commands of [`coco_core`] in SQLite, in one file, or in PostgreSQL.
//!
//! ```
//! # async fn example() -> Result<(), coco_core::store::StoreError> {
//! # let directory = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&directory).unwrap();
//! use coco_store::SeaOrmStore;
//!
//! let store = SeaOrmStore::connect("sqlite://coco.db").await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```
//!
//! `connect` makes the file if there is none, and brings its tables to the version of this
//! program. Any number of processes may open a file and read it; **one engine at a time owns it**,
//! by a lock of the operating system on `coco.db.lock` beside it, which is free again as soon as
//! the process ends, however it ends. A second engine is told who holds it.
//!
//! What is committed survives the death of the process and of the machine
//! ([`Durability::Full`], SQLite in WAL mode with `synchronous=FULL`). All commits go through one
//! writer, a batch in one transaction of a fixed number of statements, however many steps it has;
//! only where data is refused, the batch is halved to find it.
//!
//! While the disk is full or the file cannot be written, nothing of a batch is stored; the engine
//! waits and tries it again. A file that is damaged, deleted or replaced stops the engine, and an
//! engine does not start on one ([`Options::check`] looks for damage everywhere); nothing of it is
//! deleted or repaired. To restore a backup, stop the engine, move `coco.db`, `coco.db-wal` and
//! `coco.db-shm` away, and put the backup in their place.
//!
//! # PostgreSQL
//!
//! With the feature `postgres`, `connect` takes the address of a database, such as
//! `postgres://user@host/database`, of PostgreSQL 13 or later; nothing else changes. The user needs the
//! right to make tables in its schema; an engine holds one connection that writes and up to four
//! that read, and one more while it starts.
//!
//! Each engine has a row in `engines`, and its roots are its own. One that starts takes over the
//! rows whose engine has left or is dead, with all their trees: at once where that ran on the same
//! machine, or else when it has shown no life for [`Options::lease`]. Several engines may share a
//! database, and leave each other's trees alone; but for now **one that waits for a lock which
//! another engine's command holds is not woken when that lets go, nor is one for which another engine
//! publishes an event**, before it looks by itself. So run one engine a database, and another only in
//! its place.
//!
//! Every commit begins by locking the row of its engine at its epoch, so that an engine which was
//! taken over writes nothing more. A commit that has no answer is resolved by what it has stored, and
//! not by trying it again. While the server is away the engine waits and tries again, and
//! [`store_state`](coco_core::Coordinator::store_state) says so. Connections are used in sessions: a
//! pooler must not share them between transactions. A server that does not do what this depends on is
//! refused when an engine starts ([`StoreError::Unsuitable`](coco_core::store::StoreError::Unsuitable)).
//!
//! An engine that was taken over hears of it by its next commit or heartbeat, as soon as the server
//! answers it: it stops, and the code of its commands is dropped. One that nobody has taken over goes
//! on after any outage. So **code goes on while the server is away**: where that takes longer than the
//! lease, a command that was taken over meanwhile may run in both engines, until the first hears.
//!
//! While another connection keeps a transaction open for minutes, as a dump does, the server keeps
//! what is deleted: commits go on as fast, but locks that many commands wait for pass from one to the
//! next more and more slowly until it ends.
//!
//! With the feature `tls`, which is by rustls, the connections are encrypted where the server offers
//! that; `postgres://user@host/database?sslmode=require` insists, and
//! `?sslmode=verify-full&sslrootcert=/path/to/ca.pem` also makes sure who the server is. The authorities
//! that browsers trust are trusted beside that file, so `verify-ca` keeps nobody out who has a
//! certificate of theirs. Without the feature nothing is encrypted, and an address that insists is
//! refused.
//!
//! # The file
//!
//! The file must lie on a disk of this machine: neither the locks nor the WAL work over a network.
//! A backup is made by `VACUUM INTO` or the backup interface of SQLite, not by copying the file
//! while an engine runs.

mod address;
mod ancestors;
mod backend;
mod batch;
mod entity;
mod error;
#[cfg(feature = "testing")]
mod faults;
mod migration;
mod options;
mod ownership;
#[cfg(feature = "postgres")]
mod postgres;
mod read;
mod readers;
mod schema;
mod sqlite;
mod statistics;
mod store;
#[cfg(all(feature = "testing", feature = "postgres"))]
mod test_database;
mod writer;

#[cfg(feature = "testing")]
pub use faults::Faults;
pub use options::Durability;
pub use options::Options;
pub use statistics::Statistics;
pub use store::SeaOrmStore;
#[cfg(all(feature = "testing", feature = "postgres"))]
pub use test_database::TestDatabase;
