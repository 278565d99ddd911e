//! The vocabulary: typed events, ids, usage, faults and requests, and the native frame in which journal and store keep
//! an event. No IO; imports nothing of ours.

mod estimate;
mod fault;
mod fold;
pub mod frame;
mod ids;
mod opaque;
mod request;
mod terminal;
mod usage;

use serde::{Deserialize, Serialize};

pub use fault::{ErrorCode, Fault};
pub use fold::{Fold, ReasoningBlock, Span};
pub use ids::{ConversationId, GenerationId, MessageId, SyncId};
pub use opaque::{Opaque, OpaqueForm, Origin, OriginBlock};
pub use request::{ChatMessage, ModelRequest, ReasoningEffort, Role, ToolCall, text_or_parts};
pub use terminal::{Check, Complete, Digest, ErrorEvent, Timing};
pub use usage::{FinishReason, Usage, UsageSource};

/// The version of the wire contract that `start` announces.
pub const PROTOCOL_VERSION: u32 = 1;

/// One event of a conversation. Its JSON form, with `type` in front, is what clients read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first event of each message.
    Start(Box<Start>),
    /// What the gateway itself decided (routing, retry, fallback, tool).
    Status(Status),
    /// A piece of thinking.
    Reasoning(Delta),
    /// A piece of the answer.
    Text(Delta),
    /// A piece of a refusal.
    Refusal(Delta),
    /// A piece of a tool call.
    ToolCall(ToolCallDelta),
    /// What a tool answered.
    ToolResult(ToolResult),
    /// Token counts so far.
    Usage(Usage),
    /// A user's message.
    Message(UserMessage),
    /// The truth as stored: replaces what a reader holds of that message.
    Reset(Box<Reset>),
    /// The end of a message that was asked for or declared.
    Complete(Box<Complete>),
    /// The end of a message by a fault.
    Error(Box<ErrorEvent>),
    /// What only the provider can read. Kept with the message; it has no number and no client sees it.
    #[serde(skip)]
    Opaque(Opaque),
}

impl Event {
    /// Whether this is a message's last event.
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Event::Complete(_) | Event::Error(_))
    }

    /// How much a piece adds to its message, in bytes.
    pub const fn content_bytes(&self) -> usize {
        match self {
            Event::Reasoning(delta) | Event::Text(delta) | Event::Refusal(delta) => delta.content.len(),
            Event::ToolCall(delta) => delta.arguments.len(),
            Event::ToolResult(result) => result.content.len(),
            Event::Opaque(opaque) => opaque.value.len(),
            _ => 0,
        }
    }

    /// Whether a client sees that the model has begun to answer. From the first such event on, another attempt would tell
    /// it a second story.
    pub const fn is_visible(&self) -> bool {
        matches!(self, Event::Reasoning(_) | Event::Text(_) | Event::Refusal(_) | Event::ToolCall(_))
    }
}

/// A piece of reasoning, answer or refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// The text, never cut inside a character.
    pub content: String,
    /// The place of its content block in the message, from 0.
    pub block: u32,
    /// The provider withheld this reasoning and sent only an opaque block.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

/// The first event of each message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// `PROTOCOL_VERSION`.
    pub protocol: u32,
    /// The conversation that the message belongs to.
    pub conversation_id: ConversationId,
    /// The message that begins.
    pub message_id: MessageId,
    /// The generation that makes it.
    pub generation_id: GenerationId,
    /// Always `assistant` so far.
    pub role: Role,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
    /// The provider's name in the catalogue.
    pub provider: String,
    /// The provider's name for the model.
    pub model: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// Where to resume, cancel and read on.
    pub links: Links,
    /// `false` where streaming is switched off for this caller.
    pub streaming: bool,
}

/// Paths under which a client finds a generation again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Links {
    /// The generation's events, to resume from.
    pub events: String,
    /// Cancels the generation.
    pub cancel: String,
    /// The conversation.
    pub conversation: String,
}

impl Links {
    /// The paths below `base_path`, which is empty or begins with a slash and ends without one.
    pub fn new(base_path: &str, conversation: ConversationId, generation: GenerationId) -> Self {
        Links {
            events: format!("{base_path}/api/generations/{generation}/events"),
            cancel: format!("{base_path}/api/generations/{generation}/cancel"),
            conversation: format!("{base_path}/api/conversations/{conversation}"),
        }
    }
}

/// A time as the wire has it: RFC 3339, UTC, milliseconds.
pub fn rfc3339(us_since_epoch: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(us_since_epoch).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// The same read back, in milliseconds since the epoch; `None` for what is no such time.
pub fn ms_of_rfc3339(time: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(time).ok()?;
    u64::try_from(time.timestamp_millis()).ok()
}

/// What the gateway itself decided.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `routing`, `retry`, `fallback` or `tool`.
    pub phase: String,
    /// A sentence for people.
    pub message: String,
    /// Who is asked next: the provider's name in the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's name for the model that is asked next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Which attempt at that model comes next, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How long it is waited before that, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// What went wrong before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The HTTP status of the provider that failed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl Status {
    /// What the provider does by itself: it plans, or runs a tool of its own.
    pub fn of_tool(message: impl Into<String>) -> Self {
        Status { phase: "tool".to_owned(), message: message.into(), ..Status::default() }
    }
}

/// A piece of a tool call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// Unique in its message; on every piece of the call.
    pub id: String,
    /// The tool's name, on the first piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The next piece of the arguments (JSON text).
    pub arguments: String,
    /// The place of its content block in the message, from 0.
    pub block: u32,
    /// Whether this was the call's last piece.
    pub done: bool,
}

/// What a tool answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// The call that it answers.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The result as text.
    pub content: String,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A user's message, as the conversation's readers see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserMessage {
    /// The message.
    pub message_id: MessageId,
    /// Who spoke.
    pub role: Role,
    /// The whole text.
    pub content: String,
}

/// A run of one kind of content in a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Block {
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: BlockKind,
    /// The block's number, the same as in the deltas.
    pub block: u32,
    /// Its text; for a tool call, the call's id.
    pub text: String,
}

/// What a content block holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Thinking.
    Reasoning,
    /// The answer.
    Text,
    /// A refusal.
    Refusal,
    /// A tool call.
    ToolCall,
}

/// The truth as stored: replaces what a reader holds of that message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reset {
    /// The message.
    pub message_id: MessageId,
    /// The message's status: `streaming`, `complete`, `cancelled` or `error`.
    pub status: String,
    /// All reasoning so far.
    pub reasoning: String,
    /// All answer text so far.
    pub text: String,
    /// All tool calls so far.
    pub tool_calls: Vec<ToolCall>,
    /// The content blocks in their order.
    pub blocks: Vec<Block>,
    /// The last number that this event accounts for.
    pub through: SyncId,
}
