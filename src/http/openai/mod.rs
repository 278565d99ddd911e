//! OpenAI's API at `/v1`, for clients that know nothing else: the same generations in another dialect.

mod models;
mod request;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, Scope, web};

use self::request::ChatRequest;
use super::dialects::DialectName;
use super::error::{ApiError, InOpenAiForm};
use super::generate::{self, Form, Received, Wanted};
use super::input::{self, Body, Resume};
use super::repeat::Names;
use super::{App, Worker, at};
use crate::config::OnDisconnect;
use crate::event::SyncId;

/// How long a client that has an `Idempotency-Key` may stay away before its generation is cancelled. The stock clients wait
/// 8 s at most before they ask again.
const KEYED_GRACE_MS: u64 = 10_000;

/// The routes.
pub fn routes() -> Scope {
    web::scope("/v1")
        .app_data(InOpenAiForm)
        .service(at("/chat/completions", "POST").route(web::post().to(chat_completions)))
        .service(at("/models", "GET").route(web::get().to(models::list)))
        .service(at("/models/{id:.*}", "GET").route(web::get().to(models::show)))
        .default_service(web::to(super::models::nowhere))
}

/// `POST /v1/chat/completions`.
async fn chat_completions(
    request: HttpRequest,
    payload: Payload,
    app: Data<App>,
    worker: Data<Worker>,
) -> Result<HttpResponse, ApiError> {
    let Received { body: Body { bytes, share }, key, received_at } = generate::receive(&request, payload, &app).await?;
    let chat: ChatRequest = input::parse(&request, &bytes)?;
    drop(bytes);
    let (stream, include_usage) = (chat.wants_stream(), chat.wants_usage());
    let body = chat.into_generate().map_err(|fault| ApiError::new(&request, fault))?;
    // Whoever hangs up wants no more of it, unless a key says that the same request may come again.
    let on_disconnect = match key {
        Some(_) => OnDisconnect::Grace { grace_ms: KEYED_GRACE_MS },
        None => OnDisconnect::Cancel,
    };
    let wanted = Wanted {
        body,
        names: Names { id: None, key },
        on_disconnect,
        share,
        received_at,
        form: if stream { Form::Stream } else { Form::Document },
        resume: Resume {
            after: SyncId::ZERO,
            compact: false,
            batch_ms: 0,
            dialect: DialectName::OpenAi { include_usage },
        },
    };
    generate::respond(&request, &app, &worker, wanted).await
}
