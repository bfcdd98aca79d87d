//! The connections that read, and what becomes of a read whose future is dropped.

use std::future::Future;

use coco_core::store::{StoreError, StoreFuture};
use sea_orm::DatabaseConnection;

#[cfg(feature = "postgres")]
use crate::postgres::Server;

/// Reads of a file are asked of a thread that does them to their end. One of a server that is
/// dropped may leave its connection in a transaction (sqlx issue 4393), or in the middle of an
/// answer, so there each is a task of its own.
#[derive(Clone, Debug)]
pub(crate) enum Readers {
    OfFile(DatabaseConnection),
    #[cfg(feature = "postgres")]
    OfServer(std::sync::Arc<OfServer>),
}

/// The connections to a server, and how to make others.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(crate) struct OfServer {
    server: Server,
    connections: std::sync::Mutex<DatabaseConnection>,
}

impl Readers {
    pub(crate) const fn of_file(connections: DatabaseConnection) -> Self {
        Self::OfFile(connections)
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn of_server(server: &Server) -> Self {
        let connections = std::sync::Mutex::new(server.readers());
        Self::OfServer(std::sync::Arc::new(OfServer { server: server.clone(), connections }))
    }

    #[cfg(all(feature = "testing", feature = "postgres"))]
    pub(crate) fn connections(&self) -> DatabaseConnection {
        match self {
            Self::OfFile(connections) => connections.clone(),
            Self::OfServer(of_server) => of_server.connections(),
        }
    }

    /// Does `read`.
    pub(crate) fn read<'s, T, F>(
        &'s self,
        read: impl FnOnce(DatabaseConnection) -> F + Send + 's,
    ) -> StoreFuture<'s, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        match self {
            Self::OfFile(connections) => Box::pin(read(connections.clone())),
            #[cfg(feature = "postgres")]
            Self::OfServer(of_server) => {
                let of_server = std::sync::Arc::clone(of_server);
                let read = read(of_server.connections());
                Box::pin(async move {
                    let reading = tokio::spawn(async move { of_server.in_time(read).await });
                    let ended = |_| StoreError::Unavailable("a read was ended".to_owned());
                    reading.await.map_err(ended)?
                })
            }
        }
    }
}

#[cfg(feature = "postgres")]
impl OfServer {
    fn connections(&self) -> DatabaseConnection {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DatabaseConnection> {
        self.connections.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A read that has no answer may never have one, nor what comes after it on its connection: the
    /// next reads get others.
    async fn in_time<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.server.longest_read();
        match tokio::time::timeout(limit, read).await {
            Ok(read) => read,
            Err(_) => {
                *self.lock() = self.server.readers();
                Err(StoreError::Unavailable(format!("no answer within {limit:?}")))
            }
        }
    }
}
