//! Routes and thin handlers. `error` is the only place that knows status codes.

mod conversations;
mod error;
mod generate;
mod generations;
mod input;
mod models;
mod objects;
mod replay;
mod sse;
mod trace;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix_web::web;
use tokio::sync::watch;

pub use trace::{RequestId, trace};

use crate::config::Config;
use crate::generation::Running;
use crate::journal::Registry;
use crate::store::Store;
use crate::upstream::{Catalogue, Client};

/// What all workers share.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// Providers and models.
    pub catalogue: Catalogue,
    /// The database.
    pub store: Arc<dyn Store>,
    /// Journals in memory.
    pub registry: Registry,
    /// Generations of this process.
    pub running: Arc<Running>,
    /// Turns true when streams without an end of their own must end.
    pub closing: watch::Sender<bool>,
}

/// The provider side of one worker thread: its connections live on that thread's runtime.
pub struct Worker {
    /// Opens streams at providers.
    pub client: Client,
}

/// Adds all routes below the configured base path.
pub fn routes(config: &mut web::ServiceConfig, base_path: &str) {
    config.service(
        web::scope(base_path)
            .service(
                web::scope("/api")
                    .route("/generate", web::post().to(generate::generate))
                    .route("/generations/{id}", web::get().to(generations::show))
                    .route("/generations/{id}/events", web::get().to(generations::events))
                    .route("/generations/{id}/cancel", web::post().to(generations::cancel))
                    .route("/conversations", web::get().to(conversations::list))
                    .route("/conversations", web::post().to(conversations::create))
                    .route("/conversations/{id}", web::get().to(conversations::show))
                    .route("/conversations/{id}/messages", web::get().to(conversations::messages))
                    .route("/conversations/{id}/events", web::get().to(conversations::events))
                    .route("/models", web::get().to(models::list)),
            )
            .route("/healthz", web::get().to(models::healthz))
            .route("/readyz", web::get().to(models::readyz))
            .default_service(web::to(models::nowhere)),
    );
}
