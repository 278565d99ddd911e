//! Faults as HTTP responses: the only place that knows status codes.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde_json::{Value, json};

use super::trace::{AtLimit, RequestId};
use crate::dialect::openai::ErrorObject;
use crate::event::{ErrorCode, Fault};
use crate::journal::PagesError;
use crate::store::StoreError;

/// How long a client waits where nobody said for how long.
const DEFAULT_RETRY_AFTER_S: u64 = 1;
/// Obeyed by OpenAI's clients, which otherwise ask again after every status from 500 on.
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Marks routes, as their data, whose faults have OpenAI's form.
#[derive(Clone, Copy, Debug)]
pub struct InOpenAiForm;

/// What a fault's document looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Ours,
    /// RFC 9457.
    Problem,
    OpenAi,
}

impl Form {
    fn of(request: &HttpRequest) -> Self {
        let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match request.app_data::<InOpenAiForm>() {
            Some(_) => Form::OpenAi,
            None if accept.contains("application/problem+json") => Form::Problem,
            None => Form::Ours,
        }
    }
}

/// A fault before the head of a response, with the request that it answers.
#[derive(Debug)]
pub struct ApiError {
    fault: Fault,
    malformed: bool,
    /// The methods that would do, where this one does not.
    allow: Option<&'static str>,
    request_id: String,
    form: Form,
    /// More that the document says.
    details: Option<Box<Value>>,
}

impl ApiError {
    /// A fault as the answer to `request`.
    pub fn new(request: &HttpRequest, fault: Fault) -> Self {
        ApiError {
            fault,
            malformed: false,
            allow: None,
            request_id: RequestId::of(request).to_string(),
            form: Form::of(request),
            details: None,
        }
    }

    /// The request cannot even be read: 400 where a wrong value would be 422.
    pub fn malformed(request: &HttpRequest, message: impl Into<String>) -> Self {
        let fault = Fault::new(ErrorCode::InvalidRequest, message);
        ApiError { malformed: true, ..ApiError::new(request, fault) }
    }

    /// A field has a wrong type or value.
    pub fn invalid(request: &HttpRequest, message: impl Into<String>) -> Self {
        ApiError::new(request, Fault::new(ErrorCode::InvalidRequest, message))
    }

    /// There is no such thing.
    pub fn not_found(request: &HttpRequest, message: impl Into<String>) -> Self {
        ApiError::new(request, Fault::new(ErrorCode::NotFound, message))
    }

    /// There is something at that path, but only for the methods that `allow` lists.
    pub fn wrong_method(request: &HttpRequest, allow: &'static str) -> Self {
        let message = format!("{} does not take {}, only {allow}.", request.path(), request.method());
        let fault = Fault::new(ErrorCode::MethodNotAllowed, message);
        ApiError { allow: Some(allow), ..ApiError::new(request, fault) }
    }

    /// The store failed. What it said goes to the log, a plain sentence to the client.
    pub fn store(request: &HttpRequest, error: &StoreError) -> Self {
        ApiError::new(request, store_fault(&RequestId::of(request), error))
    }

    /// The same fault in a document that has the keys of the object `details`, too.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        ApiError { details: Some(Box::new(details)), ..self }
    }

    /// The same fault in OpenAI's form, for a request that has not come to its route.
    #[must_use]
    pub fn in_openai_form(self) -> Self {
        ApiError { form: Form::OpenAi, ..self }
    }

    fn status(&self) -> StatusCode {
        // OpenAI does not tell a request that cannot be read from one that has a wrong value.
        let plain = self.form == Form::OpenAi && self.fault.code == ErrorCode::InvalidRequest;
        if self.malformed || plain { StatusCode::BAD_REQUEST } else { status(self.fault.code) }
    }

    /// The response.
    pub fn response(&self) -> HttpResponse {
        let mut response = self.plain_response();
        let at_limit = [ErrorCode::Overloaded, ErrorCode::ConversationBusy, ErrorCode::TooManyStreams];
        if at_limit.contains(&self.fault.code) {
            response.extensions_mut().insert(AtLimit(self.fault.code));
        }
        response
    }

    fn plain_response(&self) -> HttpResponse {
        let status = self.status();
        let mut response = HttpResponse::build(status);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let seconds = self.fault.retry_after_ms.map_or(DEFAULT_RETRY_AFTER_S, |ms| ms.div_ceil(1000));
            response.insert_header((RETRY_AFTER, seconds));
        }
        if let Some(methods) = self.allow {
            response.insert_header((ALLOW, methods));
        }
        match self.form {
            Form::Ours => self.document(&mut response),
            Form::Problem => self.problem(&mut response, status),
            Form::OpenAi => {
                response.insert_header((X_SHOULD_RETRY, self.fault.retryable.to_string()));
                response.json(ErrorObject::new(self.fault.code, &self.fault.message))
            }
        }
    }

    fn document(&self, response: &mut HttpResponseBuilder) -> HttpResponse {
        let Fault { code, message, retryable, retry_after_ms, status } = &self.fault;
        let mut error = json!({
            "code": code, "message": message, "retryable": retryable, "requestId": self.request_id,
        });
        if let Some(ms) = retry_after_ms {
            error["retryAfterMs"] = json!(ms);
        }
        if let Some(status) = status {
            error["status"] = json!(status);
        }
        response.json(self.detailed(json!({ "success": false, "error": error })))
    }

    /// RFC 9457.
    fn problem(&self, response: &mut HttpResponseBuilder, status: StatusCode) -> HttpResponse {
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.fault.message,
            "code": self.fault.code,
            "retryable": self.fault.retryable,
            "requestId": self.request_id,
        });
        let body = self.detailed(body).to_string();
        response.insert_header((CONTENT_TYPE, "application/problem+json")).body(body)
    }

    /// What `document` itself says counts more than the details.
    fn detailed(&self, mut document: Value) -> Value {
        if let (Value::Object(document), Some(Value::Object(details))) = (&mut document, self.details.as_deref()) {
            for (key, value) in details {
                document.entry(key).or_insert_with(|| value.clone());
            }
        }
        document
    }
}

/// What a client is told of a store that failed. What the store said goes to the log.
pub fn store_fault(request: &RequestId, error: &StoreError) -> Fault {
    let (code, message) = match error {
        StoreError::Elsewhere | StoreError::Moved => {
            let message = "Another process of this gateway is at work in this conversation; ask again in a moment.";
            return Fault::new(ErrorCode::Elsewhere, message);
        }
        StoreError::Away(_) | StoreError::Fenced => {
            (ErrorCode::StoreUnavailable, "The database does not answer; ask again in a moment.")
        }
        StoreError::Refused(_) => (ErrorCode::Internal, "The database refused this."),
    };
    tracing::error!(%request, %error, "the store failed");
    Fault::new(code, message)
}

/// The same for stored events that cannot be read.
pub fn pages_fault(request: &RequestId, error: PagesError) -> Fault {
    store_fault(request, &StoreError::from(error))
}

/// The status of each code.
const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::IdempotencyMismatch | ErrorCode::ProviderNotConfigured => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::UnknownModel | ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::ResumeWithGet
        | ErrorCode::AlreadyEnded
        | ErrorCode::AlreadySubscribed
        | ErrorCode::ConversationRequired => StatusCode::CONFLICT,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::ProviderRateLimited
        | ErrorCode::ConversationBusy
        | ErrorCode::TooManyStreams
        | ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::ProviderAuth
        | ErrorCode::ProviderError
        | ErrorCode::ProviderIncomplete
        | ErrorCode::ProviderRefusedStream => StatusCode::BAD_GATEWAY,
        ErrorCode::ProviderTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::Interrupted
        | ErrorCode::Overloaded
        | ErrorCode::Elsewhere
        | ErrorCode::Starting
        | ErrorCode::Draining
        | ErrorCode::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.fault.code.as_str(), self.fault.message)
    }
}

impl actix_web::ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}
