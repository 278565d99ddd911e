//! What clients send: bodies, positions and ids, read strictly and refused with a reason.

mod generate;
mod key;
mod resume;

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::{BytesMut, Payload};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;

pub use generate::{GenerateRequest, Named, one_or_many, or_default};
pub use key::idempotency_key;
pub use resume::{Resume, dialect, last_event_id, resume};

use super::App;
use super::error::ApiError;
use crate::event::{ErrorCode, Fault};
use crate::generation::Share;

/// For how long a reader may have deltas held back.
pub const MAX_BATCH_MS: u64 = 1000;
/// The largest body that is read to nowhere, rather than to close a connection.
const DISCARD_BYTES: usize = 64 * 1024;
/// How long that may hold up a refusal.
const DISCARD_WITHIN: Duration = Duration::from_millis(250);
/// Said of a longer time.
pub const BATCH_TOO_LONG: &str = "batchMs is at most 1000.";

/// Reads a JSON body of any content type. Not JSON is 400, a wrong type or value 422, too large 413.
pub async fn json<T: DeserializeOwned>(request: &HttpRequest, payload: Payload, app: &App) -> Result<T, ApiError> {
    let body = body(request, payload, app).await?;
    parse(request, &body.bytes)
}

/// The same where no body at all is the default.
pub async fn json_or_default<T: DeserializeOwned + Default>(
    request: &HttpRequest,
    payload: Payload,
    app: &App,
) -> Result<T, ApiError> {
    let body = body(request, payload, app).await?;
    if body.bytes.is_empty() {
        return Ok(T::default());
    }
    parse(request, &body.bytes)
}

/// What [`json`] reads into a value.
pub fn parse<T: DeserializeOwned>(request: &HttpRequest, body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ApiError::invalid(request, format!("The body does not fit: {error}.")),
        _ => ApiError::malformed(request, format!("The body is not JSON: {error}.")),
    })
}

/// Refuses what a page of another site makes a browser ask.
pub fn same_site(request: &HttpRequest) -> Result<(), ApiError> {
    if request.headers().get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site") {
        let message = "A page of another site may not ask here.";
        return Err(ApiError::new(request, Fault::new(ErrorCode::Forbidden, message)));
    }
    Ok(())
}

/// A body, with what it takes of the memory for requests.
pub struct Body {
    /// All of it.
    pub bytes: BytesMut,
    /// To be held as long as what was read from it.
    pub share: Share,
}

/// Reads a body of any content type. Too large is 413, too slow 400, and more than there is memory for 503.
pub async fn body(request: &HttpRequest, mut payload: Payload, app: &App) -> Result<Body, ApiError> {
    same_site(request)?;
    let limits = &app.config.limits;
    let mut body = Body { bytes: BytesMut::new(), share: app.budget.share() };
    if announced_bytes(request).is_some_and(|bytes| bytes > limits.max_body_bytes) {
        return Err(too_large(request, limits.max_body_bytes));
    }
    let reading = async {
        while let Some(chunk) = payload.next().await {
            let broke_off = |error| ApiError::malformed(request, format!("The body broke off: {error}."));
            let chunk = chunk.map_err(broke_off)?;
            if body.bytes.len() + chunk.len() > limits.max_body_bytes {
                return Err(too_large(request, limits.max_body_bytes));
            }
            if !body.share.grow(chunk.len()) {
                return Err(ApiError::new(request, no_memory()));
            }
            body.bytes.extend_from_slice(&chunk);
        }
        Ok(())
    };
    let time = Duration::from_millis(limits.body_timeout_ms);
    match tokio::time::timeout(time, reading).await {
        Ok(read) => read.map(|()| body),
        Err(_too_slow) => {
            let message =
                format!("The body did not come within {} ms (limits.body_timeout_ms).", limits.body_timeout_ms);
            Err(ApiError::malformed(request, message))
        }
    }
}

/// Reads a small body to nowhere, so that the connection can be used again by a client that is refused. A connection with
/// a large one that is not wanted is cheaper to close, which is what happens to one whose body is not read.
pub async fn discard(request: &HttpRequest, mut payload: Payload) {
    if announced_bytes(request).is_none_or(|bytes| bytes > DISCARD_BYTES) {
        return;
    }
    let reading = async { while let Some(Ok(_)) = payload.next().await {} };
    // Whoever is slower has the answer all the same, and then no connection.
    _ = tokio::time::timeout(DISCARD_WITHIN, reading).await;
}

fn announced_bytes(request: &HttpRequest) -> Option<usize> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(request: &HttpRequest, max_bytes: usize) -> ApiError {
    let message = format!("The body is larger than {max_bytes} bytes (limits.max_body_bytes).");
    ApiError::new(request, Fault::new(ErrorCode::PayloadTooLarge, message))
}

/// The memory for requests is used up.
pub fn no_memory() -> Fault {
    let message = "There is no memory for this request now (limits.max_body_bytes_in_flight); ask again in a moment.";
    Fault::new(ErrorCode::Overloaded, message)
}

/// A flag in the query: `?name=1`, or just `?name`.
pub fn flag(request: &HttpRequest, name: &str, value: Option<&str>) -> Result<bool, ApiError> {
    match value {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true" | "") => Ok(true),
        Some(other) => Err(ApiError::malformed(request, format!("{name} is 1 or 0, not {other:?}."))),
    }
}

/// An id in the path.
pub fn id<T: FromStr>(request: &HttpRequest, name: &str) -> Result<T, ApiError> {
    let text = request.match_info().get(name).unwrap_or_default();
    text.parse().map_err(|_| ApiError::malformed(request, format!("{text:?} is not an id; ids are UUIDs.")))
}

/// Whether the client asked for Server-Sent Events by its `Accept` header.
pub fn accepts_event_stream(request: &HttpRequest) -> bool {
    let accepted = request.headers().get_all("accept").filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream")))
}
