//! Token counts in one meaning, whatever the provider counts.

use super::types::Counts;
use crate::event::{Usage, UsageSource};

/// The provider's counts with reasoning inside the output; `None` where nothing was counted.
pub fn normalised(counts: &Counts) -> Option<Usage> {
    if counts.prompt_tokens.0.is_none() && counts.completion_tokens.0.is_none() {
        return None;
    }
    let input_tokens = counts.prompt_tokens.0.unwrap_or(0);
    let mut output_tokens = counts.completion_tokens.0.unwrap_or(0);
    let details = counts.completion_tokens_details.0.as_ref();
    let reasoning_tokens = details.and_then(|details| details.reasoning_tokens.0).or(counts.reasoning_tokens.0);
    let beside = reasoning_tokens.filter(|tokens| {
        // xAI's total gives it away; more reasoning than output (Perplexity) can only be counted beside it.
        let both = input_tokens.saturating_add(output_tokens);
        let total_says_so =
            counts.total_tokens.0.is_some_and(|total| total != both && total == both.saturating_add(*tokens));
        total_says_so || *tokens > output_tokens
    });
    output_tokens = output_tokens.saturating_add(beside.unwrap_or(0));
    let in_details = counts.prompt_tokens_details.0.as_ref().and_then(|details| details.cached_tokens.0);
    let cached_input_tokens = in_details.or(counts.prompt_cache_hit_tokens.0).or(counts.cached_tokens.0);
    Some(Usage {
        input_tokens,
        output_tokens,
        reasoning_tokens,
        cached_input_tokens,
        total_tokens: input_tokens.saturating_add(output_tokens),
        source: UsageSource::Reported,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input, output, reasoning, cached, total.
    fn of(json: &str) -> (u64, u64, Option<u64>, Option<u64>, u64) {
        let usage = normalised(&serde_json::from_str(json).unwrap()).unwrap();
        (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.cached_input_tokens, usage.total_tokens)
    }

    #[test]
    fn reasoning_inside_the_output_stays_there() {
        let json = r#"{"prompt_tokens":10,"completion_tokens":30,"total_tokens":40,
            "completion_tokens_details":{"reasoning_tokens":20},"prompt_tokens_details":{"cached_tokens":4}}"#;
        assert_eq!(of(json), (10, 30, Some(20), Some(4), 40));
    }

    #[test]
    fn reasoning_beside_the_output_is_added() {
        let json = r#"{"prompt_tokens":10,"completion_tokens":3,"total_tokens":33,
            "completion_tokens_details":{"reasoning_tokens":20}}"#;
        assert_eq!(of(json), (10, 23, Some(20), None, 33));
        let more = r#"{"prompt_tokens":10,"completion_tokens":3,"total_tokens":13,"reasoning_tokens":20}"#;
        assert_eq!(of(more), (10, 23, Some(20), None, 33));
    }

    #[test]
    fn what_is_not_said_stays_unknown() {
        assert_eq!(of(r#"{"prompt_tokens":1,"completion_tokens":2}"#), (1, 2, None, None, 3));
        assert_eq!(of(r#"{"completion_tokens":2,"prompt_tokens_details":null}"#), (0, 2, None, None, 2));
        assert!(normalised(&serde_json::from_str(r#"{"cost":1}"#).unwrap()).is_none());
    }

    #[test]
    fn cached_input_is_found_in_all_three_places() {
        assert_eq!(of(r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":5}"#).3, Some(5));
        assert_eq!(of(r#"{"prompt_tokens":9,"cached_tokens":6}"#).3, Some(6));
        assert_eq!(of(r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":0}}"#).3, Some(0));
    }
}
