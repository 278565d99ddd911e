//! What the store gives back.

use std::collections::BTreeMap;

use crate::event::{
    Complete, ConversationId, ErrorCode, ErrorEvent, Event, FinishReason, Fold, GenerationId, MessageId, Role, SyncId,
    Timing,
};
use crate::journal::{MessageError, MessageStatus, Run};

/// The name that a client of another habit gives to a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct External {
    /// What such clients call it: names of different kinds never mean the same conversation.
    pub kind: &'static str,
    /// The name.
    pub id: String,
}

/// When a message that a model made began and ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredTurn {
    /// The number of its first event; `None` while it is being made.
    pub first: Option<SyncId>,
    /// The number of its terminal event, once the generation is over.
    pub last: Option<SyncId>,
}

/// A conversation as it is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredConversation {
    /// Its id.
    pub id: ConversationId,
    /// Its title, where somebody gave it one.
    pub title: Option<String>,
    /// Microseconds since the epoch.
    pub created_at_us: i64,
    /// Microseconds since the epoch.
    pub updated_at_us: i64,
    /// The last number in use when a generation last ended.
    pub last: SyncId,
    /// Exact events up to this number are no longer kept.
    pub trimmed: SyncId,
    /// The name that its client gave to it, where it came with one.
    pub external_id: Option<String>,
}

/// A message as it is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredMessage {
    /// Its id.
    pub id: MessageId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The generation that made it or that it started.
    pub generation: GenerationId,
    /// Who speaks.
    pub role: Role,
    /// Its content; for a client's message, only text and tool calls.
    pub content: Fold,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
    /// How far it is.
    pub status: MessageStatus,
    /// Why it ended, where it did not fail.
    pub finish_reason: Option<FinishReason>,
    /// How it failed, where it did.
    pub error: Option<MessageError>,
    /// The provider's name in the catalogue.
    pub provider: Option<String>,
    /// The provider's name for the model.
    pub model: Option<String>,
    /// The client's own pairs.
    pub metadata: BTreeMap<String, String>,
    /// How long it took.
    pub timing: Option<Timing>,
    /// Microseconds since the epoch.
    pub created_at_us: i64,
    /// The number of its first event.
    pub first: Option<SyncId>,
    /// The number of its terminal event.
    pub last: Option<SyncId>,
}

impl StoredMessage {
    /// Its terminal event, made again from the row: for recovery, and for readers whose exact events are gone. What the
    /// row does not know (a provider's status, how long to wait) is left out.
    pub fn terminal(&self, request_id: &str, is_final: bool) -> Event {
        if self.status != MessageStatus::Error {
            return Event::Complete(Box::new(Complete {
                finish_reason: self.finish_reason.unwrap_or(FinishReason::Stop),
                provider: self.provider.clone().unwrap_or_default(),
                model: self.model.clone().unwrap_or_default(),
                usage: self.content.usage.clone(),
                timing: self.timing.unwrap_or_default(),
                stored: true,
                check: self.content.check(),
                is_final,
            }));
        }
        let unknown = || MessageError { code: ErrorCode::Internal, message: String::new() };
        let MessageError { code, message } = self.error.clone().unwrap_or_else(unknown);
        Event::Error(Box::new(ErrorEvent {
            code,
            message,
            retryable: code.retryable(),
            retry_after_ms: None,
            provider: self.provider.clone(),
            status: None,
            usage: self.content.usage.clone(),
            stored: true,
            request_id: request_id.to_owned(),
            is_final,
        }))
    }
}

/// A generation as it is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredGeneration {
    /// Its id.
    pub id: GenerationId,
    /// The conversation.
    pub conversation: ConversationId,
    /// How far it is.
    pub status: MessageStatus,
    /// The `Idempotency-Key` that came with the request.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request.
    pub body_hash: Vec<u8>,
    /// The request that started it.
    pub request_id: String,
    /// The name of its task, where the request gave one.
    pub task_id: Option<String>,
    /// Microseconds since the epoch.
    pub created_at_us: i64,
    /// The number of its final terminal event.
    pub last: Option<SyncId>,
    /// The client's messages that it started with and the messages that it made, in their order.
    pub messages: Vec<StoredMessage>,
}

impl StoredGeneration {
    /// The messages that models made.
    pub fn output(&self) -> impl Iterator<Item = &StoredMessage> {
        self.messages.iter().filter(|message| message.model.is_some())
    }

    /// The messages that the client sent.
    pub fn input(&self) -> impl Iterator<Item = &StoredMessage> {
        self.messages.iter().filter(|message| message.model.is_none())
    }
}

/// A stored run of frames and when it was stored.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredRun {
    /// The frames.
    pub run: Run,
    /// Milliseconds since the epoch.
    pub recorded_at_ms: u64,
}
