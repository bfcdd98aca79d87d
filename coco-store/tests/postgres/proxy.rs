//! What stands between the store and its server, and lets go wrong what a test says.
//!
//! It knows of the protocol where a message ends, which messages ask for an answer, and which one
//! says that the answer is over. What a client says until it asks is forwarded as one piece.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sea_orm::sqlx::ConnectOptions;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::forest::Dice;

/// What becomes of a statement, and of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is closed, and the server never hears of the statement.
    CutBefore,
    /// The connection is closed while the server does it.
    CutDuring,
    /// The server does it; its answer is dropped, and the connection is closed.
    CutAfter,
    /// The server never hears of it, nor the client of anything.
    StallBefore,
    /// The server does it, and the client never hears of anything.
    StallAfter,
}

pub(crate) struct Proxy {
    address: String,
    shared: Arc<Shared>,
    listener: AbortHandle,
}

struct Shared {
    plan: Mutex<Plan>,
    /// While it is away, nobody is connected.
    is_away: watch::Sender<bool>,
    struck: watch::Sender<usize>,
}

#[derive(Default)]
struct Plan {
    statements: usize,
    nth: Option<(usize, Fault)>,
    random: Option<(Dice, u64)>,
}

impl Proxy {
    /// Stands before the server of `address`.
    pub(crate) async fn before(address: &str) -> Self {
        let options: PgConnectOptions = address.parse().expect("an address of a server");
        let server = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let options = options.host("127.0.0.1").port(port).ssl_mode(PgSslMode::Disable);
        let shared = Arc::new(Shared {
            plan: Mutex::default(),
            is_away: watch::Sender::new(false),
            struck: watch::Sender::new(0),
        });
        let listening = tokio::spawn(listen(listener, server, Arc::clone(&shared)));
        let listener = listening.abort_handle();
        Self { address: options.to_url_lossy().to_string(), shared, listener }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The `n`th statement from now on, from 1, meets the fault.
    pub(crate) fn strike(&self, n: usize, fault: Fault) {
        *self.shared.plan() = Plan { nth: Some((n, fault)), ..Plan::default() };
    }

    /// From now on one in so many statements meets a cut.
    pub(crate) fn cut_at_random(&self, seed: u64, one_in: u64) {
        *self.shared.plan() = Plan { random: Some((Dice(seed), one_in)), ..Plan::default() };
    }

    /// From now on all goes well. Gives how many statements there were since something was to go
    /// wrong.
    pub(crate) fn heal(&self) -> usize {
        std::mem::take(&mut *self.shared.plan()).statements
    }

    /// How many faults there were.
    pub(crate) fn struck(&self) -> usize {
        *self.shared.struck.borrow()
    }

    /// Waits until there were so many.
    pub(crate) async fn until_struck(&self, times: usize) {
        // The sender lives as long as `self`.
        let _ = self.shared.struck.subscribe().wait_for(|struck| *struck >= times).await;
    }

    /// Closes all connections, and any that is tried.
    pub(crate) fn go_away(&self) {
        self.shared.is_away.send_replace(true);
    }

    pub(crate) fn come_back(&self) {
        self.shared.is_away.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A statement is to be forwarded.
    fn next(&self) -> Option<Fault> {
        let fault = {
            let plan = &mut *self.plan();
            plan.statements += 1;
            let is_nth = |(n, _): &mut (usize, Fault)| *n == plan.statements;
            let nth = plan.nth.take_if(is_nth).map(|(_, fault)| fault);
            let random = plan.random.as_mut().and_then(|(dice, one_in)| {
                let cuts = [Fault::CutBefore, Fault::CutDuring, Fault::CutAfter];
                let cut = cuts[dice.below(3) as usize];
                dice.one_in(*one_in).then_some(cut)
            });
            nth.or(random)
        };
        if fault.is_some() {
            self.struck.send_modify(|struck| *struck += 1);
        }
        fault
    }
}

async fn listen(listener: TcpListener, server: (String, u16), shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if *shared.is_away.borrow() {
            shared.struck.send_modify(|struck| *struck += 1);
            continue;
        }
        let (server, shared) = (server.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let mut is_away = shared.is_away.subscribe();
            tokio::select! {
                _ = relay(client, server, &shared) => {}
                _ = is_away.wait_for(|is_away| *is_away) => {}
            }
        });
    }
}

/// Until one of them closes the connection, or it is cut.
async fn relay(client: TcpStream, server: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((client, answers), (server, asked)) = (client.into_split(), server.into_split());
    let dropping = watch::Sender::new(None);
    tokio::select! {
        done = ask(client, asked, shared, &dropping) => done,
        done = answer(server, answers, &dropping) => done,
    }
}

async fn ask(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    dropping: &watch::Sender<Option<Fault>>,
) -> io::Result<()> {
    let mut said = Vec::new();
    // The first message has no kind.
    message(&mut client, &mut said, false).await?;
    server.write_all(&said).await?;
    loop {
        said.clear();
        while !matches!(message(&mut client, &mut said, true).await?, b'Q' | b'S' | b'X' | b'p') {}
        match shared.next() {
            None => server.write_all(&said).await?,
            Some(Fault::CutBefore) => return Ok(()),
            Some(Fault::CutDuring) => return server.write_all(&said).await,
            Some(Fault::StallBefore) => std::future::pending().await,
            Some(fault) => {
                dropping.send_replace(Some(fault));
                server.write_all(&said).await?;
            }
        }
    }
}

async fn answer(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    dropping: &watch::Sender<Option<Fault>>,
) -> io::Result<()> {
    let mut said = Vec::new();
    loop {
        said.clear();
        let kind = message(&mut server, &mut said, true).await?;
        let fault = *dropping.borrow();
        match fault {
            None => client.write_all(&said).await?,
            Some(Fault::StallAfter) => {}
            Some(_) if kind == b'Z' => return Ok(()),
            Some(_) => {}
        }
    }
}

/// Adds the next message to `said`. Gives its kind.
async fn message(from: &mut OwnedReadHalf, said: &mut Vec<u8>, has_kind: bool) -> io::Result<u8> {
    let begin = said.len();
    let head = if has_kind { 5 } else { 4 };
    said.resize(begin + head, 0);
    from.read_exact(&mut said[begin..]).await?;
    let length = said[begin + head - 4..].try_into().expect("four bytes");
    let body = u32::from_be_bytes(length) as usize - 4;
    said.resize(begin + head + body, 0);
    from.read_exact(&mut said[begin + head..]).await?;
    Ok(if has_kind { said[begin] } else { 0 })
}
