//! What clients send: bodies, positions and ids, read strictly and refused with a reason.

mod generate;
mod key;
mod resume;

#[cfg(test)]
mod tests;

use std::str::FromStr;

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Payload};
use serde::de::DeserializeOwned;

pub use generate::GenerateRequest;
pub use key::idempotency_key;
pub use resume::{Resume, last_event_id, resume};

use super::error::ApiError;
use crate::event::{ErrorCode, Fault};

/// For how long a reader may have deltas held back.
const MAX_BATCH_MS: u64 = 1000;
const BATCH_TOO_LONG: &str = "batchMs is at most 1000.";

/// Reads a JSON body of any content type. Not JSON is 400, a wrong type or value 422, too large 413.
pub async fn json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    max_bytes: usize,
) -> Result<T, ApiError> {
    let body = body(request, payload, max_bytes).await?;
    parse(request, &body)
}

/// The same where no body at all is the default.
pub async fn json_or_default<T: DeserializeOwned + Default>(
    request: &HttpRequest,
    payload: Payload,
    max_bytes: usize,
) -> Result<T, ApiError> {
    let body = body(request, payload, max_bytes).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    parse(request, &body)
}

fn parse<T: DeserializeOwned>(request: &HttpRequest, body: &[u8]) -> Result<T, ApiError> {
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

async fn body(request: &HttpRequest, payload: Payload, max_bytes: usize) -> Result<Bytes, ApiError> {
    same_site(request)?;
    match payload.to_bytes_limited(max_bytes).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(ApiError::malformed(request, format!("The body broke off: {error}."))),
        Err(_too_large) => {
            let message = format!("The body is larger than {max_bytes} bytes (limits.max_body_bytes).");
            Err(ApiError::new(request, Fault::new(ErrorCode::PayloadTooLarge, message)))
        }
    }
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
