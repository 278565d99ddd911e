//! Why a message ended in an error: one enumerated code, a plain sentence, and whether a retry makes sense.

use serde::{Deserialize, Serialize};

/// The documented list of error codes, the same in HTTP errors and in `error` events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is not JSON, or a field has a wrong type or value.
    InvalidRequest,
    /// A web page of another origin asked.
    Forbidden,
    /// No alias, provider or listed model has that name.
    UnknownModel,
    /// No conversation, generation or route has that id.
    NotFound,
    /// There is something at that path, but not for this method.
    MethodNotAllowed,
    /// A `Last-Event-ID` on a POST that names no generation: nothing was started.
    ResumeWithGet,
    /// The same `generationId` or `Idempotency-Key` came with another body.
    IdempotencyMismatch,
    /// The body, or the conversation that it goes on, is larger than may be.
    PayloadTooLarge,
    /// The provider is known but has no key here.
    ProviderNotConfigured,
    /// The provider refused our key.
    ProviderAuth,
    /// The provider said "slow down".
    ProviderRateLimited,
    /// The provider failed or answered nonsense.
    ProviderError,
    /// The provider did not answer, or fell silent.
    ProviderTimeout,
    /// The stream stopped without a declared end.
    ProviderIncomplete,
    /// The provider answered without streaming.
    ProviderRefusedStream,
    /// This process ended while the message was being made.
    Interrupted,
    /// As much runs in that conversation as may.
    ConversationBusy,
    /// As many streams and WebSockets of this caller are open as may.
    TooManyStreams,
    /// A client sends more messages over its WebSocket than it may.
    RateLimited,
    /// What is to be cancelled has ended.
    AlreadyEnded,
    /// A WebSocket reads that conversation already.
    AlreadySubscribed,
    /// A message over a WebSocket does not say to which of several conversations it belongs.
    ConversationRequired,
    /// A limit of the whole process is reached.
    Overloaded,
    /// The process starts and does not take requests yet.
    Starting,
    /// The process is about to end and takes no new work.
    Draining,
    /// The database did not take what must be stored.
    StoreUnavailable,
    /// Another process that shares the database is at work in this conversation.
    Elsewhere,
    /// A fault of ours.
    Internal,
}

impl ErrorCode {
    /// Whether the same request may well succeed a little later.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            ErrorCode::ProviderRateLimited
                | ErrorCode::ProviderError
                | ErrorCode::ProviderTimeout
                | ErrorCode::ProviderIncomplete
                | ErrorCode::Interrupted
                | ErrorCode::ConversationBusy
                | ErrorCode::TooManyStreams
                | ErrorCode::RateLimited
                | ErrorCode::Overloaded
                | ErrorCode::Starting
                | ErrorCode::Draining
                | ErrorCode::StoreUnavailable
                | ErrorCode::Elsewhere
        )
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorCode::InvalidRequest => "invalid_request",
            ErrorCode::Forbidden => "forbidden",
            ErrorCode::UnknownModel => "unknown_model",
            ErrorCode::NotFound => "not_found",
            ErrorCode::MethodNotAllowed => "method_not_allowed",
            ErrorCode::ResumeWithGet => "resume_with_get",
            ErrorCode::IdempotencyMismatch => "idempotency_mismatch",
            ErrorCode::PayloadTooLarge => "payload_too_large",
            ErrorCode::ProviderNotConfigured => "provider_not_configured",
            ErrorCode::ProviderAuth => "provider_auth",
            ErrorCode::ProviderRateLimited => "provider_rate_limited",
            ErrorCode::ProviderError => "provider_error",
            ErrorCode::ProviderTimeout => "provider_timeout",
            ErrorCode::ProviderIncomplete => "provider_incomplete",
            ErrorCode::ProviderRefusedStream => "provider_refused_stream",
            ErrorCode::Interrupted => "interrupted",
            ErrorCode::ConversationBusy => "conversation_busy",
            ErrorCode::TooManyStreams => "too_many_streams",
            ErrorCode::RateLimited => "rate_limited",
            ErrorCode::AlreadyEnded => "already_ended",
            ErrorCode::AlreadySubscribed => "already_subscribed",
            ErrorCode::ConversationRequired => "conversation_required",
            ErrorCode::Overloaded => "overloaded",
            ErrorCode::Starting => "starting",
            ErrorCode::Draining => "draining",
            ErrorCode::StoreUnavailable => "store_unavailable",
            ErrorCode::Elsewhere => "elsewhere",
            ErrorCode::Internal => "internal",
        }
    }
}

/// What went wrong, as far as a client should know it. Never holds a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which kind of fault.
    pub code: ErrorCode,
    /// A plain sentence: what was wrong, where, and what to do.
    pub message: String,
    /// Whether the same request may well succeed a little later.
    pub retryable: bool,
    /// How long the provider asks to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The provider's HTTP status, where there was one.
    pub status: Option<u16>,
}

impl Fault {
    /// A fault whose `retryable` follows its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Fault { code, message: message.into(), retryable: code.retryable(), retry_after_ms: None, status: None }
    }

    /// The same fault with the provider's HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The same fault with another opinion about retrying.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }
}
