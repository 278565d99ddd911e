//! What must be stored beside the events: rows that begin and end messages and generations.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{
    ConversationId, ErrorCode, FinishReason, Fold, GenerationId, MessageId, Role, SyncId, Timing, ToolCall,
};

/// How far a message or a generation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageStatus {
    /// Being made.
    Streaming,
    /// Ended as the provider declared.
    Complete,
    /// Ended because the client asked for it.
    Cancelled,
    /// Ended by a fault.
    Error,
}

impl MessageStatus {
    /// The word in rows and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageStatus::Streaming => "streaming",
            MessageStatus::Complete => "complete",
            MessageStatus::Cancelled => "cancelled",
            MessageStatus::Error => "error",
        }
    }

    /// What is said of a generation with messages of these: that it is complete as soon as one of them is, and failed
    /// only where all did.
    pub fn of_all(messages: impl IntoIterator<Item = Self>) -> Self {
        let rank = |status: &Self| match status {
            MessageStatus::Error => 0,
            MessageStatus::Cancelled => 1,
            MessageStatus::Complete => 2,
            MessageStatus::Streaming => 3,
        };
        messages.into_iter().max_by_key(rank).unwrap_or(MessageStatus::Error)
    }
}

/// A row to be written together with the events before it.
#[derive(Clone, Debug)]
pub enum Write {
    /// A generation begins.
    Begin(Arc<Begin>),
    /// Numbers up to this one may be used.
    Reserve(SyncId),
    /// A message's content is final.
    MessageEnd(Box<MessageEnd>),
    /// A generation's last event is in the journal.
    GenerationEnd(GenerationEnd),
}

/// What a row costs in memory beside its texts, as good as it can be said.
const ROW_BYTES: usize = 1_024;

impl Write {
    /// How much memory it takes until it is stored.
    pub(super) fn bytes(&self) -> u64 {
        let calls = |calls: &[ToolCall]| -> usize { calls.iter().map(|call| call.arguments.len()).sum() };
        let bytes = match self {
            Write::Begin(begin) => {
                let input = begin.input.iter().map(|message| message.content.len() + calls(&message.tool_calls));
                ROW_BYTES + input.sum::<usize>()
            }
            Write::MessageEnd(end) => {
                let Fold { reasoning, text, refusal, tool_calls, opaque, .. } = &end.content;
                let opaque: usize = opaque.iter().map(|opaque| opaque.value.len()).sum();
                ROW_BYTES + reasoning.len() + text.len() + refusal.len() + calls(tool_calls) + opaque
            }
            Write::Reserve(_) | Write::GenerationEnd(_) => 0,
        };
        bytes as u64
    }
}

/// Everything that is stored before a client sees the head of its answer.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whether its row is made now.
    pub new_conversation: bool,
    /// The generation.
    pub generation: GenerationId,
    /// The `Idempotency-Key` that came with the request.
    pub idempotency_key: Option<Arc<str>>,
    /// SHA-256 of the request, to tell a repeated request from another one.
    pub body_hash: [u8; 32],
    /// The request that started it.
    pub request_id: String,
    /// The name of its task, where the request gave one.
    pub task_id: Option<String>,
    /// The messages that the client sent.
    pub input: Vec<InputMessage>,
    /// The messages that models are about to make.
    pub output: Vec<MessageStart>,
    /// Microseconds since the epoch.
    pub at_us: i64,
}

/// A message that the client sent.
#[derive(Clone, Debug)]
pub struct InputMessage {
    /// Its id.
    pub id: MessageId,
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub content: String,
    /// The calls of an assistant's message.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
}

/// A message that a model is about to make.
#[derive(Clone, Debug)]
pub struct MessageStart {
    /// Its id.
    pub id: MessageId,
    /// The provider's name in the catalogue.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// The client's own pairs.
    pub metadata: BTreeMap<String, String>,
}

/// A message as it is to be kept.
#[derive(Clone, Debug)]
pub struct MessageEnd {
    /// The message.
    pub id: MessageId,
    /// How it ended.
    pub status: MessageStatus,
    /// Why, where it did not fail.
    pub finish_reason: Option<FinishReason>,
    /// How it failed, where it did.
    pub error: Option<MessageError>,
    /// Its content.
    pub content: Fold,
    /// How long it took.
    pub timing: Timing,
    /// Its first event.
    pub first: SyncId,
    /// The provider's name in the catalogue.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// Microseconds since the epoch.
    pub at_us: i64,
}

/// How a message failed, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct MessageError {
    /// One of the documented codes.
    pub code: ErrorCode,
    /// A plain sentence.
    pub message: String,
}

/// A generation whose terminal events are all in the journal.
#[derive(Clone, Debug)]
pub struct GenerationEnd {
    /// The generation.
    pub id: GenerationId,
    /// How it ended as a whole, by [`MessageStatus::of_all`].
    pub status: MessageStatus,
    /// Each message with the number of its terminal event.
    pub messages: Vec<(MessageId, SyncId)>,
    /// The id under which it is kept, where its failure leaves the one that its client chose, and its `Idempotency-Key`,
    /// to another attempt.
    pub rekey: Option<GenerationId>,
    /// Microseconds since the epoch.
    pub at_us: i64,
}
