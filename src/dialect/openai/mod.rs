//! OpenAI's Chat Completions, as its clients read them: a stream of chunks, one document, and faults.
//!
//! Thinking travels as `reasoning_content` beside `content`, the field that DeepSeek introduced and that most clients of
//! this API look for. How the clients treat the rest was read in the sources of the `openai` packages for Python (3.52) and
//! npm (7.59): a payload with the key `error` raises an `APIError` wherever it comes, `[DONE]` ends a stream, comment
//! lines are skipped, and a block of `retry:` without data makes Python's client fail.

mod chunk;
mod document;
mod error;
mod stream;
mod usage;

pub use document::{Answer, Completion};
pub use error::ErrorObject;
pub use stream::ChatStream;

use crate::event::{FinishReason, MessageId};

/// The id of a completion.
fn completion_id(message: MessageId) -> String {
    format!("chatcmpl-{message}")
}

/// How a model is named in answers: as it can be asked for again, and as the list of models has it.
fn model_id(provider: &str, model: &str) -> String {
    format!("{provider}/{model}")
}

/// When a message began, in seconds since 1970: as its `start` says it (RFC 3339), or else as its id does. 0 where neither
/// is known.
fn created_s(created_at: Option<&str>, message: MessageId) -> u64 {
    let said = created_at.and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    let said = said.and_then(|time| u64::try_from(time.timestamp()).ok());
    said.or_else(|| message.uuid().get_timestamp().map(|time| time.to_unix().0)).unwrap_or(0)
}

/// The word for the end of a message. The API knows no cancelled answers: for its client one was done.
const fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Cancelled => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// The arguments of a call whose model wrote none. Clients parse them as JSON.
const NO_ARGUMENTS: &str = "{}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_began_when_its_start_or_its_id_says_so() {
        let message: MessageId = "0192f0c1-7a00-7000-8000-0000000000c1".parse().expect("an id");
        assert_eq!(created_s(Some("2026-11-28T15:09:38.123Z"), message), 1_795_878_578);
        assert_eq!(created_s(None, message), 0x0192_f0c1_7a00 / 1000);
        let random: MessageId = "7d444840-9dc0-41d1-b245-5ffdce74fad2".parse().expect("an id");
        assert_eq!(created_s(Some("yesterday"), random), 0);
    }
}
