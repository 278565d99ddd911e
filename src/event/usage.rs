//! Token counts and the reasons why a message ended.

use serde::{Deserialize, Serialize};

/// Where token counts come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider said so.
    Reported,
    /// Counted here, because the provider said nothing.
    Estimated,
}

/// Token counts of one message, cumulative: the last report counts.
///
/// `reasoning_tokens` is a part of `output_tokens` and `cached_input_tokens` a part of `input_tokens`, whatever the
/// provider counts. `None` means that the provider did not say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: u64,
    /// Tokens that the model made, reasoning included.
    pub output_tokens: u64,
    /// The part of `output_tokens` that was reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// The part of `input_tokens` that came from the provider's cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<u64>,
    /// Input and output together.
    pub total_tokens: u64,
    /// Who counted.
    pub source: UsageSource,
}

/// Why a message ended as asked for or as the provider declared. Faults are not finish reasons.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model was done, or met a stop sequence.
    Stop,
    /// The limit of tokens was reached.
    Length,
    /// The message holds tool calls that the client must run.
    ToolCalls,
    /// The provider withheld or refused.
    ContentFilter,
    /// The client cancelled.
    Cancelled,
}

impl FinishReason {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::ContentFilter => "content_filter",
            FinishReason::Cancelled => "cancelled",
        }
    }
}
