//! Where a reader that comes back wants to go on.

use actix_web::HttpRequest;
use actix_web::web::Query;
use serde::Deserialize;

use crate::event::SyncId;
use crate::http::dialects::DialectName;
use crate::http::error::ApiError;

/// The query of the resume routes.
#[derive(Deserialize)]
struct ResumeQuery {
    after: Option<String>,
    compact: Option<String>,
    #[serde(rename = "batchMs", alias = "batch_ms")]
    batch_ms: Option<String>,
    dialect: Option<String>,
}

/// Where a reader wants to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resume {
    /// Everything after this number.
    pub after: SyncId,
    /// One `reset` a message instead of the exact events.
    pub compact: bool,
    /// For how long deltas may be held back to be joined.
    pub batch_ms: u64,
    /// In which form it wants the events.
    pub dialect: DialectName,
}

/// `Last-Event-ID`, where there is one.
pub fn last_event_id(request: &HttpRequest) -> Result<Option<SyncId>, ApiError> {
    let Some(value) = request.headers().get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or("(not ASCII)").trim();
    // Browsers send an empty header for "nothing yet".
    if text.is_empty() {
        return Ok(None);
    }
    number(request, "Last-Event-ID", text).map(Some)
}

/// `Last-Event-ID`, else `?after=`, else the start; `?compact=1`, and `?batchMs=`.
pub fn resume(request: &HttpRequest) -> Result<Resume, ApiError> {
    let query = Query::<ResumeQuery>::from_query(request.query_string())
        .map_err(|error| ApiError::malformed(request, format!("The query does not fit: {error}.")))?;
    let after = match (last_event_id(request)?, &query.after) {
        (Some(after), _) => after,
        (None, Some(text)) => number(request, "after", text)?,
        (None, None) => SyncId::ZERO,
    };
    let compact = super::flag(request, "compact", query.compact.as_deref())?;
    let batch_ms = match query.batch_ms.as_deref() {
        None => 0,
        Some(text) => number(request, "batchMs", text)?.get(),
    };
    if batch_ms > super::MAX_BATCH_MS {
        return Err(ApiError::invalid(request, super::BATCH_TOO_LONG));
    }
    let dialect = named(request, query.dialect.as_deref())?;
    Ok(Resume { after, compact, batch_ms, dialect })
}

/// `?dialect=` alone, for requests that begin something.
pub fn dialect(request: &HttpRequest) -> Result<DialectName, ApiError> {
    #[derive(Deserialize)]
    struct DialectQuery {
        dialect: Option<String>,
    }
    let query = Query::<DialectQuery>::from_query(request.query_string())
        .map_err(|error| ApiError::malformed(request, format!("The query does not fit: {error}.")))?;
    named(request, query.dialect.as_deref())
}

fn named(request: &HttpRequest, name: Option<&str>) -> Result<DialectName, ApiError> {
    let Some(name) = name else { return Ok(DialectName::default()) };
    DialectName::named(name)
        .ok_or_else(|| ApiError::malformed(request, format!("dialect is {}, not {name:?}.", DialectName::NAMES)))
}

fn number(request: &HttpRequest, name: &str, text: &str) -> Result<SyncId, ApiError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than any number has are still a number, only one that was never given out.
    let number = if digits { Some(text.parse().unwrap_or(i64::MAX as u64)) } else { None };
    match number {
        Some(number) => Ok(SyncId::new(number.min(i64::MAX as u64))),
        None => Err(ApiError::malformed(request, format!("{name} is a whole number, not {text:?}."))),
    }
}
