//! What clients send: bodies, positions and ids, read strictly and refused with a reason.

use std::collections::BTreeMap;
use std::str::FromStr;

use actix_web::HttpRequest;
use actix_web::web::{Bytes, Payload, Query};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::config::OnDisconnect;
use crate::event::{
    ChatMessage, ConversationId, ErrorCode, Fault, GenerationId, ModelRequest, ReasoningEffort, Role, SyncId,
};

const MAX_METADATA_PAIRS: usize = 16;
const MAX_METADATA_BYTES: usize = 1024;
const MAX_NAME_BYTES: usize = 256;
const MAX_BATCH_MS: u64 = 1000;

/// The body of `POST /api/generate`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerateRequest {
    prompt: Option<String>,
    messages: Option<Vec<ChatMessage>>,
    pub model: Option<String>,
    models: Option<Vec<String>>,
    pub stream: Option<bool>,
    #[serde(alias = "conversation_id")]
    pub conversation_id: Option<ConversationId>,
    #[serde(alias = "generation_id")]
    pub generation_id: Option<GenerationId>,
    #[serde(alias = "use_reasoning")]
    use_reasoning: Option<bool>,
    #[serde(alias = "reasoning_effort")]
    reasoning_effort: Option<ReasoningEffort>,
    temperature: Option<f64>,
    #[serde(alias = "top_p")]
    top_p: Option<f64>,
    #[serde(alias = "max_tokens")]
    max_tokens: Option<u64>,
    stop: Option<OneOrMany>,
    seed: Option<i64>,
    tools: Option<Vec<Value>>,
    #[serde(alias = "tool_choice")]
    tool_choice: Option<Value>,
    #[serde(alias = "on_disconnect")]
    on_disconnect: Option<Disconnect>,
    #[serde(alias = "batch_ms")]
    pub batch_ms: Option<u64>,
    #[serde(alias = "task_id")]
    task_id: Option<String>,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// `"continue"`, `"cancel"` or `{"graceMs": n}`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", untagged)]
enum Disconnect {
    Word(DisconnectWord),
    Grace {
        #[serde(rename = "graceMs", alias = "grace_ms")]
        grace_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum DisconnectWord {
    Continue,
    Cancel,
}

impl GenerateRequest {
    /// Checks what types alone do not say.
    pub fn check(&self) -> Result<(), Fault> {
        let wrong = |message: &str| Err(Fault::new(ErrorCode::InvalidRequest, message));
        match (&self.prompt, &self.messages) {
            (Some(_), Some(_)) => return wrong("Give either prompt or messages, not both."),
            (None, None) => return wrong("Give prompt (a text) or messages (a list)."),
            (Some(prompt), None) if prompt.trim().is_empty() => return wrong("prompt is empty."),
            (None, Some(messages)) if messages.is_empty() => return wrong("messages is empty."),
            _ => {}
        }
        if self.models.is_some() {
            return wrong("models (several at once) is not supported yet; name one in model.");
        }
        let too_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > MAX_NAME_BYTES);
        if too_long(&self.model) || too_long(&self.task_id) {
            return wrong("model and taskId take at most 256 bytes.");
        }
        if self.batch_ms.is_some_and(|ms| ms > MAX_BATCH_MS) {
            return wrong("batchMs is at most 1000.");
        }
        let large = |text: &String| text.len() > MAX_METADATA_BYTES;
        if self.metadata.len() > MAX_METADATA_PAIRS
            || self.metadata.iter().any(|(key, value)| large(key) || large(value))
        {
            return wrong("metadata takes at most 16 pairs of at most 1024 bytes each.");
        }
        for (place, message) in self.messages.iter().flatten().enumerate() {
            let text = match message.role {
                Role::Tool if message.tool_call_id.is_none() => "a tool message names its toolCallId",
                Role::User if message.content.is_empty() => "a user message has content",
                _ => continue,
            };
            return wrong(&format!("messages[{place}]: {text}."));
        }
        Ok(())
    }

    /// The new messages of the conversation, in order.
    pub fn input(&self) -> Vec<ChatMessage> {
        match (&self.prompt, &self.messages) {
            (Some(prompt), _) => vec![ChatMessage {
                role: Role::User,
                content: prompt.clone(),
                tool_calls: Vec::new(),
                tool_call_id: None,
            }],
            (None, messages) => messages.clone().unwrap_or_default(),
        }
    }

    /// What a provider is asked, with the history before the new messages.
    pub fn model_request(&self, model: &str, mut history: Vec<ChatMessage>) -> ModelRequest {
        history.extend(self.input());
        ModelRequest {
            model: model.to_owned(),
            messages: history,
            use_reasoning: self.use_reasoning,
            reasoning_effort: self.reasoning_effort,
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: self.max_tokens,
            stop: match &self.stop {
                None => Vec::new(),
                Some(OneOrMany::One(stop)) => vec![stop.clone()],
                Some(OneOrMany::Many(stop)) => stop.clone(),
            },
            seed: self.seed,
            tools: self.tools.clone().unwrap_or_default(),
            tool_choice: self.tool_choice.clone(),
        }
    }

    /// The disconnect policy, where the request names one.
    pub fn on_disconnect(&self) -> Option<OnDisconnect> {
        self.on_disconnect.map(|policy| match policy {
            Disconnect::Word(DisconnectWord::Continue) => OnDisconnect::Continue,
            Disconnect::Word(DisconnectWord::Cancel) => OnDisconnect::Cancel,
            Disconnect::Grace { grace_ms } => OnDisconnect::Grace { grace_ms },
        })
    }

    /// Tells a repeated request from another one: SHA-256 of what was understood of it, so that spelling and unknown
    /// fields do not matter, and neither does the form of the answer.
    pub fn hash(&self) -> Result<[u8; 32], Fault> {
        let same = GenerateRequest { stream: None, batch_ms: None, ..self.clone() };
        let text = serde_json::to_vec(&same)
            .map_err(|error| Fault::new(ErrorCode::Internal, format!("the request cannot be compared: {error}")))?;
        Ok(Sha256::digest(text).into())
    }
}

/// Reads a JSON body of any content type. Not JSON is 400, a wrong type or value 422, too large 413.
pub async fn json<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    max_bytes: usize,
) -> Result<T, ApiError> {
    let body = body(request, payload, max_bytes).await?;
    serde_json::from_slice(&body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ApiError::invalid(request, format!("The body does not fit: {error}.")),
        _ => ApiError::malformed(request, format!("The body is not JSON: {error}.")),
    })
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
    serde_json::from_slice(&body)
        .map_err(|error| ApiError::malformed(request, format!("The body does not fit: {error}.")))
}

async fn body(request: &HttpRequest, payload: Payload, max_bytes: usize) -> Result<Bytes, ApiError> {
    if request.headers().get("sec-fetch-site").is_some_and(|site| site.as_bytes() == b"cross-site") {
        let message = "A page of another site may not ask here.";
        return Err(ApiError::new(request, Fault::new(ErrorCode::Forbidden, message)));
    }
    match payload.to_bytes_limited(max_bytes).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(ApiError::malformed(request, format!("The body broke off: {error}."))),
        Err(_too_large) => {
            let message = format!("The body is larger than {max_bytes} bytes (limits.max_body_bytes).");
            Err(ApiError::new(request, Fault::new(ErrorCode::PayloadTooLarge, message)))
        }
    }
}

/// An id in the path.
pub fn id<T: FromStr>(request: &HttpRequest, name: &str) -> Result<T, ApiError> {
    let text = request.match_info().get(name).unwrap_or_default();
    text.parse().map_err(|_| ApiError::malformed(request, format!("{text:?} is not an id; ids are UUIDs.")))
}

/// The query of the resume routes.
#[derive(Deserialize)]
struct ResumeQuery {
    after: Option<String>,
    compact: Option<String>,
}

/// Where a reader wants to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resume {
    /// Everything after this number.
    pub after: SyncId,
    /// One `reset` a message instead of the exact events.
    pub compact: bool,
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

/// `Last-Event-ID`, else `?after=`, else the start; and `?compact=1`.
pub fn resume(request: &HttpRequest) -> Result<Resume, ApiError> {
    let query = Query::<ResumeQuery>::from_query(request.query_string())
        .map_err(|error| ApiError::malformed(request, format!("The query does not fit: {error}.")))?;
    let after = match (last_event_id(request)?, &query.after) {
        (Some(after), _) => after,
        (None, Some(text)) => number(request, "after", text)?,
        (None, None) => SyncId::ZERO,
    };
    let compact = match query.compact.as_deref() {
        None | Some("0" | "false") => false,
        Some("1" | "true" | "") => true,
        Some(other) => return Err(ApiError::malformed(request, format!("compact is 1 or 0, not {other:?}."))),
    };
    Ok(Resume { after, compact })
}

fn number(request: &HttpRequest, name: &str, text: &str) -> Result<SyncId, ApiError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than any number has are still a number, only one that was never given out.
    let number = if digits { Some(text.parse().unwrap_or(i64::MAX as u64)) } else { None };
    match number {
        Some(number) => Ok(SyncId::new(number.min(i64::MAX as u64))),
        None => Err(ApiError::malformed(request, format!("{name} is a number, the id of an event; not {text:?}."))),
    }
}

/// Whether the client asked for Server-Sent Events by its `Accept` header.
pub fn accepts_event_stream(request: &HttpRequest) -> bool {
    let accepted = request.headers().get_all("accept").filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream")))
}
