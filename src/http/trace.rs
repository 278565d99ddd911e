//! An id and a log line for every request.

use std::fmt;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest};
use uuid::Uuid;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer id of a client or proxy is not taken over.
const MAX_ID_BYTES: usize = 128;

/// The id of a request: the one that a client or proxy sent, or one made here.
#[derive(Clone, Debug)]
pub struct RequestId(String);

impl RequestId {
    /// The id that [`trace`] gave to `request`.
    pub fn of(request: &HttpRequest) -> RequestId {
        request.extensions().get::<RequestId>().cloned().unwrap_or_else(RequestId::new)
    }

    fn new() -> RequestId {
        RequestId(Uuid::now_v7().to_string())
    }

    fn from_header(value: &HeaderValue) -> Option<RequestId> {
        let text = value.to_str().ok()?;
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && (1..=MAX_ID_BYTES).contains(&text.len())).then(|| RequestId(text.to_owned()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives each request its id and logs one line when its head goes out.
pub async fn trace(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let began = Instant::now();
    let id = request.headers().get(X_REQUEST_ID).and_then(RequestId::from_header).unwrap_or_else(RequestId::new);
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    let path = request.path().to_owned();
    let mut response = next.call(request).await?;
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    let head_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(request = %id, %method, path, status = response.status().as_u16(), head_ms, "request");
    Ok(response)
}
