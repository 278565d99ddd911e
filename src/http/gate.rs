//! What stands between the socket and the handlers while the process starts.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use parking_lot::Mutex;
use serde_json::json;
use tokio::runtime::Handle;

use super::App;
use super::error::ApiError;
use crate::event::{ErrorCode, Fault};
use crate::upstream::Client;

/// The provider side of one worker thread: its connections live on that thread's runtime.
pub struct Worker {
    /// Opens streams at providers.
    pub client: Client,
}

/// The runtimes of all worker threads.
#[derive(Debug, Default)]
pub struct Workers(Mutex<Vec<Handle>>);

impl Workers {
    /// To be called on a worker's own thread.
    pub fn register(&self, client: Client) -> Worker {
        self.0.lock().push(Handle::current());
        Worker { client }
    }

    /// How many tasks live on all of them: generations, connections to providers, and deletions.
    pub fn tasks(&self) -> usize {
        self.0.lock().iter().map(|runtime| runtime.metrics().num_alive_tasks()).sum()
    }
}

/// Answers for the handlers until there is what they need.
#[derive(Default)]
pub struct Gate {
    app: OnceLock<Data<App>>,
    health_path: String,
    /// Below it, faults have OpenAI's form.
    openai_path: String,
}

impl Gate {
    /// A closed gate in front of the routes below `base_path`.
    pub fn new(base_path: &str) -> Arc<Self> {
        let (health_path, openai_path) = (format!("{base_path}/healthz"), format!("{base_path}/v1/"));
        Arc::new(Gate { app: OnceLock::new(), health_path, openai_path })
    }

    /// From now on handlers answer, with `app`. A second call changes nothing.
    pub fn open(&self, app: Data<App>) {
        _ = self.app.set(app);
    }

    /// Lets a request through to its handler, or says that the process still starts.
    pub async fn pass(
        self: Arc<Self>,
        mut request: ServiceRequest,
        next: Next<BoxBody>,
    ) -> Result<ServiceResponse<BoxBody>, Error> {
        if let Some(app) = self.app.get() {
            let mut shared = Extensions::new();
            shared.insert(app.clone());
            request.add_data_container(Rc::new(shared));
        } else if request.path() != self.health_path {
            let message = "The gateway is starting; ask again in a moment.";
            let fault = Fault::new(ErrorCode::Starting, message);
            let refusal = ApiError::new(request.request(), fault);
            let refusal = refusal.with_details(json!({ "status": "starting", "reason": "starting" }));
            let is_openai = request.path().starts_with(&self.openai_path);
            let refusal = if is_openai { refusal.in_openai_form() } else { refusal };
            let response = refusal.response();
            return Ok(request.into_response(response));
        }
        next.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use serde_json::Value;

    use super::*;

    #[actix_web::test]
    async fn a_closed_gate_refuses_in_the_form_of_the_route() {
        let gate = Gate::new("/gate");
        let app = actix_web::App::new().wrap(from_fn(move |request, next| gate.clone().pass(request, next)));
        let app = init_service(app).await;
        for (path, is_openai) in [("/gate/v1/models", true), ("/gate/api/models", false), ("/v1/models", false)] {
            let response = call_service(&app, TestRequest::get().uri(path).to_request()).await;
            let should_retry = response.headers().get("x-should-retry").is_some_and(|value| value == "true");
            let body: Value = read_body_json(response).await;
            assert_eq!(body["error"]["code"], "starting", "{path}");
            assert_eq!(body["error"]["type"] == "server_error", is_openai, "{path}");
            assert_eq!((body["success"].is_null(), should_retry), (is_openai, is_openai), "{path}");
        }
    }
}
