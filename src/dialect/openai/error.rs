//! Faults.

use serde::Serialize;

use crate::event::ErrorCode;

/// `{"error":{"message","type","param","code"}}`: the body of an error response, and a payload in the middle of a stream.
#[derive(Debug, Serialize)]
pub struct ErrorObject<'a> {
    error: Inner<'a>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The field that was wrong. Our messages name it.
    param: Option<&'a str>,
    code: ErrorCode,
}

impl<'a> ErrorObject<'a> {
    /// `code` stays ours, so that a fault has one name on all of our routes; `type` is the API's word for its class.
    pub const fn new(code: ErrorCode, message: &'a str) -> Self {
        ErrorObject { error: Inner { message, kind: kind(code), param: None, code } }
    }
}

const fn kind(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest
        | ErrorCode::UnknownModel
        | ErrorCode::NotFound
        | ErrorCode::MethodNotAllowed
        | ErrorCode::ResumeWithGet
        | ErrorCode::IdempotencyMismatch
        | ErrorCode::PayloadTooLarge
        | ErrorCode::AlreadyEnded
        | ErrorCode::AlreadySubscribed
        | ErrorCode::ConversationRequired
        | ErrorCode::ProviderNotConfigured => "invalid_request_error",
        ErrorCode::Forbidden => "permission_error",
        ErrorCode::ProviderRateLimited
        | ErrorCode::ConversationBusy
        | ErrorCode::TooManyStreams
        | ErrorCode::RateLimited => "rate_limit_error",
        // A key that a provider refuses is ours, not the client's.
        ErrorCode::ProviderAuth
        | ErrorCode::ProviderError
        | ErrorCode::ProviderTimeout
        | ErrorCode::ProviderIncomplete
        | ErrorCode::ProviderRefusedStream
        | ErrorCode::Interrupted
        | ErrorCode::Overloaded
        | ErrorCode::Starting
        | ErrorCode::Draining
        | ErrorCode::StoreUnavailable
        | ErrorCode::Elsewhere
        | ErrorCode::Internal => "server_error",
    }
}
