//! The header `Idempotency-Key`.

use std::sync::Arc;

use actix_web::HttpRequest;

use crate::http::error::ApiError;

const MAX_KEY_BYTES: usize = 255;

/// `Idempotency-Key`, where there is one, without the quotation marks that the draft of its standard asks for.
pub fn idempotency_key(request: &HttpRequest) -> Result<Option<Arc<str>>, ApiError> {
    let mut values = request.headers().get_all("idempotency-key");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::malformed(request, "Idempotency-Key comes more than once."));
    }
    let bytes = value.as_bytes().trim_ascii();
    let bytes = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(key) if (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(key.into()))
        }
        _ => {
            let message = format!("Idempotency-Key is 1 to {MAX_KEY_BYTES} visible ASCII characters, quoted or not.");
            Err(ApiError::malformed(request, message))
        }
    }
}
