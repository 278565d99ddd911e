//! What the store gives back.

use std::collections::BTreeMap;

use crate::event::{ConversationId, FinishReason, Fold, GenerationId, MessageId, Role, SyncId, Timing};
use crate::journal::{MessageError, MessageStatus, Run};

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
