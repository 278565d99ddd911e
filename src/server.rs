//! The composition root: puts the parts together, listens, and ends in order.

mod drain;
mod listen;
mod open;
mod signals;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use actix_web::web::Data;
use tokio::runtime::Handle;
use tokio::sync::watch;

use self::listen::Front;
use self::open::{Opened, open};
use self::signals::Signals;
use crate::config::Config;
use crate::generation::{Budget, Most, Running};
use crate::http::{App, Connections, MostConnections, Phase, Refusals, Seats, StoreHealth};
use crate::store::{OpenError, StoreError};
use crate::upstream::{Catalogue, CatalogueError, Client, ClientError};

/// Threads for the database beside the web workers.
const STORE_THREADS: usize = 2;
/// How long a statement that still runs at the very end may hold up the process. One that is cut off has no effect.
const LAST_STATEMENT: Duration = Duration::from_millis(100);

/// Why the server could not start, go on, or end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The catalogue names something that does not exist.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The database cannot be opened.
    #[error("the database cannot be opened: {0}")]
    Open(#[from] OpenError),
    /// What a process that died had left open cannot be ended.
    #[error("open generations cannot be ended: {0}")]
    Recovery(#[from] StoreError),
    /// Another process took over.
    #[error(
        "another process took the place of node {node:?}, as its lease had run out or its name was used twice; what it had open was ended there"
    )]
    Fenced {
        /// The name of this process's node.
        node: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The port file cannot be written.
    #[error("cannot write the port to {path}: {source}")]
    PortFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process ended in order, but the database did not take everything.
    #[error(
        "ended, but the database did not take {unstored_bytes} bytes of events; \
         the next start ends their messages as interrupted"
    )]
    Unstored {
        /// How much was not stored, in bytes.
        unstored_bytes: u64,
    },
    /// Threads, signals or the server itself failed.
    #[error("the server failed: {0}")]
    Io(#[from] io::Error),
}

/// Serves until SIGINT or SIGTERM; a second one ends the process at once, with 128 and the signal's number. Writes the
/// port to `port_file` once it listens, which is before the database is open.
///
/// # Errors
/// Whatever keeps it from serving or, at the end, from storing what it holds; nothing of a single request.
pub fn run(config: Config, port_file: Option<PathBuf>) -> Result<(), ServerError> {
    let store_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(STORE_THREADS)
        .thread_name("store")
        .enable_all()
        .build()?;
    let result = actix_web::rt::System::new().block_on(serve(config, port_file, store_runtime.handle().clone()));
    store_runtime.shutdown_timeout(LAST_STATEMENT);
    result
}

async fn serve(config: Config, port_file: Option<PathBuf>, store_runtime: Handle) -> Result<(), ServerError> {
    // Before anything that takes time, so that a signal is never the end of the process by default.
    let signals = Signals::watch(&store_runtime)?;
    let limits = &config.limits;
    let connections = Connections::new(MostConnections {
        websockets: limits.max_websockets,
        per_caller: limits.max_streams_per_caller,
    });
    let dumped = connections.clone();
    signals::at_each_user_signal(&store_runtime, move || dumped.dump())?;
    let catalogue = Catalogue::new(&config)?;
    // Fails here, once, rather than in every worker.
    Client::new(config.stream.connect_timeout_ms)?;
    let front = Front::listen(&config)?;
    if let Some(path) = port_file {
        listen::write_port(&path, front.address().port()).map_err(|source| ServerError::PortFile { path, source })?;
    }

    let opened = tokio::select! {
        opened = open(&config, &store_runtime) => opened,
        () = signals.first() => {
            tracing::info!("ended before the start was through");
            front.abandon().await;
            return Ok(());
        }
    };
    let Opened { store, registry, recorder, lease } = match opened {
        Ok(opened) => opened,
        Err(error) => {
            front.abandon().await;
            return Err(error);
        }
    };
    let store_health = StoreHealth::new(registry.backlog().clone());
    store_runtime.spawn(store_health.clone().watch(store.clone()));
    let running = Running::new(Most {
        in_all: limits.max_concurrent_generations,
        per_conversation: limits.max_generations_per_conversation,
    });
    let app = Data::new(App {
        catalogue,
        store,
        registry,
        running,
        budget: Budget::new(limits.max_body_bytes_in_flight),
        seats: Seats::new(limits.max_readers, limits.max_readers_per_conversation),
        connections,
        refusals: Refusals::default(),
        phase: watch::Sender::new(Phase::Serving),
        store_health,
        workers: front.workers(),
        config,
    });
    front.open(app.clone());
    tracing::info!("ready");

    tokio::select! {
        () = signals.first() => {}
        () = lease.lost() => {
            front.abandon().await;
            return Err(ServerError::Fenced { node: lease.node().to_owned() });
        }
    }
    drain::drain(&app, front, recorder, lease).await
}
