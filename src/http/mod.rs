//! Routes and thin handlers. `error` is the only place that knows status codes.

mod batched;
mod caller;
mod connections;
mod conversations;
mod dialects;
mod document;
mod ending;
mod error;
mod gate;
mod generate;
mod generations;
mod health;
mod history;
mod input;
mod launch;
mod models;
mod objects;
mod openai;
mod page;
mod repeat;
mod replay;
mod seats;
mod speaking;
mod sse;
mod streams;
mod trace;
mod ws;

#[cfg(test)]
mod tests;

use std::future::ready;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, Resource, web};
use tokio::sync::watch;

pub use connections::{Connections, MostConnections};
pub use ending::Phase;
pub use gate::{Gate, Worker, Workers};
pub use health::StoreHealth;
pub use seats::Seats;
pub use trace::{Refusals, RequestId, trace};

use self::error::ApiError;
use crate::config::Config;
use crate::generation::{Budget, Running};
use crate::journal::Registry;
use crate::store::Store;
use crate::upstream::Catalogue;

/// What all workers share.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// Providers and models.
    pub catalogue: Catalogue,
    /// The database.
    pub store: Arc<dyn Store>,
    /// Journals in memory.
    pub registry: Arc<Registry>,
    /// Generations of this process.
    pub running: Arc<Running>,
    /// How near the end of the process is.
    pub phase: watch::Sender<Phase>,
    /// Whether the database answers.
    pub store_health: Arc<StoreHealth>,
    /// The worker threads.
    pub workers: Arc<Workers>,
    /// The memory for requests that are not handed on yet.
    pub budget: Arc<Budget>,
    /// The places for readers.
    pub seats: Arc<Seats>,
    /// The streams and WebSockets that are open.
    pub connections: Arc<Connections>,
    /// Requests that were refused because a limit was reached.
    pub refusals: Refusals,
}

/// A path that answers the methods in `allow`, and says so to all others.
fn at(path: &str, allow: &'static str) -> Resource {
    let wrong_method =
        move |request: HttpRequest| ready(Err::<HttpResponse, _>(ApiError::wrong_method(&request, allow)));
    web::resource(path).default_service(web::to(wrong_method))
}

/// Adds all routes below the configured base path.
pub fn routes(config: &mut web::ServiceConfig, base_path: &str) {
    let scope = page::add(web::scope(base_path));
    #[cfg(debug_assertions)]
    let scope = scope.service(at("/ws-echo", "GET").route(web::get().to(ws::echo)));
    config.service(
        scope
            .service(at("/api/generate", "POST").route(web::post().to(generate::generate)))
            .service(at("/api/generations/{id}", "GET").route(web::get().to(generations::show)))
            .service(at("/api/generations/{id}/events", "GET").route(web::get().to(generations::events)))
            .service(at("/api/generations/{id}/cancel", "POST").route(web::post().to(generations::cancel)))
            .service(
                at("/api/conversations", "GET, POST")
                    .route(web::get().to(conversations::list))
                    .route(web::post().to(conversations::create)),
            )
            .service(
                at("/api/conversations/{id}", "GET, PATCH, DELETE")
                    .route(web::get().to(conversations::show))
                    .route(web::patch().to(conversations::rename))
                    .route(web::delete().to(conversations::delete)),
            )
            .service(at("/api/conversations/{id}/messages", "GET").route(web::get().to(conversations::messages)))
            .service(at("/api/conversations/{id}/events", "GET").route(web::get().to(conversations::events)))
            .service(at("/api/models", "GET").route(web::get().to(models::list)))
            .service(openai::routes())
            .service(at("/ws", "GET").route(web::get().to(ws::sync)))
            .service(at("/ws/chat/{session_id}", "GET").route(web::get().to(ws::chat)))
            .service(at("/ws/progress", "GET").route(web::get().to(ws::progress)))
            .service(at("/healthz", "GET").route(web::get().to(health::healthz)))
            .service(at("/readyz", "GET").route(web::get().to(health::readyz)))
            .default_service(web::to(models::nowhere)),
    );
}
