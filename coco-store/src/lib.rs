//! Stores the commands of [`coco_core`] in SQLite, in one file.
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
