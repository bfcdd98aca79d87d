//! Which engine this is. Each has a row in `engines`: one that starts takes over those whose engine
//! is dead or has left, with all their trees, and else makes one of its own.

use coco_core::store::{EngineId, StoreError};
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{self, Connection, Row};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::connection::{Held, Postgres};
use super::probe::probe;
use super::process::{self, Incarnation, Sight};
use super::server::Server;
use crate::error::unavailable;

/// An engine that has the right to write.
pub(crate) struct Claim {
    pub(crate) postgres: Postgres,
    pub(crate) connection: Held,
    pub(crate) epoch: i64,
    /// Whether all before it, of which it has the trees, have left cleanly.
    pub(crate) clean: bool,
    pub(crate) incarnation: Incarnation,
}

/// A row of `engines`.
#[derive(Clone, Debug, PartialEq)]
struct Engine {
    id: Uuid,
    epoch: i64,
    heartbeat: i64,
    released: bool,
    clean: bool,
    incarnation: Uuid,
    process: Option<String>,
    holder: String,
}

const READ: &str = "\
SELECT engine_id, epoch, heartbeat, released, clean, incarnation, process, holder FROM engines \
ORDER BY engine_id";

const LOCK: &str = "\
SELECT engine_id, epoch, heartbeat, released, clean, incarnation, process, holder FROM engines \
WHERE engine_id = ANY($1) ORDER BY engine_id FOR NO KEY UPDATE";

const LAST_EPOCH: &str = "SELECT coalesce(max(epoch), 0) FROM engines";

const CLAIM: &str = "\
INSERT INTO engines (\
engine_id, epoch, heartbeat, released, clean, incarnation, process, holder) \
VALUES ($1, $2, 0, false, false, $3, $4, $5) \
ON CONFLICT (engine_id) DO UPDATE SET epoch = excluded.epoch, heartbeat = 0, released = false, \
clean = false, incarnation = excluded.incarnation, process = excluded.process, \
holder = excluded.holder";

/// With `=` the server would expect that one engine has all roots, and look at those of the others.
const TAKE_TREES: &str = "\
UPDATE command_entities SET engine_id = $1 WHERE engine_id BETWEEN $2 AND $2 \
AND parent_command_id IS NULL AND status NOT IN ('ended_successfully', 'ended_with_failure')";

/// What engines that are no more have committed.
const FORGET_COMMITS: &str = "DELETE FROM commits WHERE epoch = ANY($1)";

const FORGET: &str = "DELETE FROM engines WHERE engine_id = ANY($1)";

/// Becomes an engine. Where it is not known whether another one lives, that is watched for as long
/// as a lease.
pub(crate) async fn claim(server: &Server) -> Result<Claim, StoreError> {
    let mut connection = server.writer().await?;
    server.in_time(probe(server, &mut connection)).await?;
    loop {
        let dead = dead(server, &mut connection).await?;
        let taken =
            server.in_time(async { take(&mut connection, &dead).await.map_err(unavailable) });
        if let Some((id, epoch, clean, incarnation)) = taken.await? {
            let engine_id = EngineId::from_uuid(id);
            let postgres = Postgres::new(server.clone(), engine_id, epoch);
            let connection = Held::new(connection);
            return Ok(Claim { postgres, connection, epoch, clean, incarnation });
        }
    }
}

/// The engines that are dead, or have left.
async fn dead(server: &Server, connection: &mut PgConnection) -> Result<Vec<Engine>, StoreError> {
    let begun = Instant::now();
    let (mut dead, mut unknown) = (Vec::new(), Vec::new());
    for engine in read(server, connection).await? {
        match engine.look() {
            Sight::Dead => dead.push(engine),
            Sight::Unknown => unknown.push(engine),
            Sight::Alive => {}
        }
    }
    let lease = server.options.limits.lease;
    while !unknown.is_empty() {
        if begun.elapsed() >= lease {
            for Engine { holder, .. } in &unknown {
                tracing::warn!(holder, ?lease, "an engine shows no life: its trees are taken over");
            }
            dead.append(&mut unknown);
            break;
        }
        sleep(lease / 8).await;
        for engine in read(server, connection).await? {
            let place = unknown.iter().position(|it| it.id == engine.id && *it != engine);
            if let Some(place) = place {
                unknown.swap_remove(place);
                dead.extend((engine.look() == Sight::Dead).then_some(engine));
            }
        }
    }
    Ok(dead)
}

impl Engine {
    fn look(&self) -> Sight {
        if self.released {
            return Sight::Dead;
        }
        process::look(self.process.as_deref(), self.incarnation)
    }
}

async fn read(server: &Server, connection: &mut PgConnection) -> Result<Vec<Engine>, StoreError> {
    let read = async {
        let rows = sqlx::query(READ).fetch_all(connection).await.map_err(unavailable)?;
        rows.iter().map(engine).collect::<Result<_, _>>().map_err(unavailable)
    };
    server.in_time(read).await
}

fn engine(row: &sqlx::postgres::PgRow) -> Result<Engine, sqlx::Error> {
    Ok(Engine {
        id: row.try_get("engine_id")?,
        epoch: row.try_get("epoch")?,
        heartbeat: row.try_get("heartbeat")?,
        released: row.try_get("released")?,
        clean: row.try_get("clean")?,
        incarnation: row.try_get("incarnation")?,
        process: row.try_get("process")?,
        holder: row.try_get("holder")?,
    })
}

/// Takes over all of `dead`, or becomes one more engine. None where one of them was not dead, or
/// somebody else was first.
async fn take(
    connection: &mut PgConnection,
    dead: &[Engine],
) -> Result<Option<(Uuid, i64, bool, Incarnation)>, sqlx::Error> {
    let ids: Vec<Uuid> = dead.iter().map(|engine| engine.id).collect();
    let mut transaction = connection.begin().await?;
    // One at a time becomes an engine: its epoch is the greatest.
    sqlx::query("SELECT pg_advisory_xact_lock(1668243311, 1)").execute(&mut *transaction).await?;
    let locked = sqlx::query(LOCK).bind(&ids).fetch_all(&mut *transaction).await?;
    let locked = locked.iter().map(engine).collect::<Result<Vec<_>, _>>()?;
    let mut expected = dead.to_vec();
    expected.sort_by_key(|engine| engine.id);
    if locked != expected {
        transaction.rollback().await?;
        return Ok(None);
    }
    let last: i64 = sqlx::query(LAST_EPOCH).fetch_one(&mut *transaction).await?.try_get(0)?;
    let (own, others) = match &ids[..] {
        [] => (Uuid::new_v4(), &[][..]),
        [own, others @ ..] => (*own, others),
    };
    let incarnation = Uuid::new_v4();
    let living = Incarnation::new(incarnation);
    sqlx::query(CLAIM)
        .bind(own)
        .bind(last + 1)
        .bind(incarnation)
        .bind(process::this())
        .bind(process::describe())
        .execute(&mut *transaction)
        .await?;
    if !others.is_empty() {
        for other in others {
            sqlx::query(TAKE_TREES).bind(own).bind(other).execute(&mut *transaction).await?;
        }
        sqlx::query(FORGET).bind(others).execute(&mut *transaction).await?;
    }
    if !dead.is_empty() {
        let epochs: Vec<i64> = dead.iter().map(|engine| engine.epoch).collect();
        sqlx::query(FORGET_COMMITS).bind(epochs).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    let clean = dead.iter().all(|engine| engine.clean);
    Ok(Some((own, last + 1, clean, living)))
}
