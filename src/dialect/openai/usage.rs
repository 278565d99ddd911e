//! Token counts.

use serde::Serialize;

use crate::event::Usage;

/// `usage`. What nobody counted is left out.
#[derive(Debug, Serialize)]
pub(super) struct UsageObject {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Debug, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl From<&Usage> for UsageObject {
    fn from(usage: &Usage) -> Self {
        let completion = |reasoning_tokens| CompletionDetails { reasoning_tokens };
        UsageObject {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens,
            prompt_tokens_details: usage.cached_input_tokens.map(|cached_tokens| PromptDetails { cached_tokens }),
            completion_tokens_details: usage.reasoning_tokens.map(completion),
        }
    }
}
