//! A whole answer.

use serde::Serialize;

use super::usage::UsageObject;
use super::{NO_ARGUMENTS, completion_id, created_s, finish_reason, model_id};
use crate::event::{FinishReason, MessageId, ToolCall, Usage};

/// A message that has ended, as far as a client of this API learns of it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The message.
    pub message: MessageId,
    /// When it began: RFC 3339.
    pub created_at: &'a str,
    /// Who answered in the end: the provider's name in the catalogue.
    pub provider: &'a str,
    /// The provider's name for the model.
    pub model: &'a str,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// All reasoning.
    pub reasoning: &'a str,
    /// All answer text.
    pub text: &'a str,
    /// All refusal text.
    pub refusal: &'a str,
    /// All tool calls.
    pub tool_calls: &'a [ToolCall],
    /// The last token counts.
    pub usage: Option<&'a Usage>,
}

/// A `chat.completion`, to be serialised.
#[derive(Debug, Serialize)]
pub struct Completion<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageObject>,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    /// Absent text beside calls or a refusal is `null` in this API, and the key is always there.
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Debug, Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> From<Answer<'a>> for Completion<'a> {
    fn from(answer: Answer<'a>) -> Self {
        let has_other = !answer.tool_calls.is_empty() || !answer.refusal.is_empty();
        let message = Message {
            role: "assistant",
            content: (!answer.text.is_empty() || !has_other).then_some(answer.text),
            reasoning_content: answer.reasoning,
            refusal: (!answer.refusal.is_empty()).then_some(answer.refusal),
            tool_calls: answer.tool_calls.iter().map(Call::from).collect(),
        };
        Completion {
            id: completion_id(answer.message),
            object: "chat.completion",
            created: created_s(Some(answer.created_at), answer.message),
            model: model_id(answer.provider, answer.model),
            choices: [Choice { index: 0, message, logprobs: None, finish_reason: finish_reason(answer.finish_reason) }],
            usage: answer.usage.map(UsageObject::from),
        }
    }
}

impl<'a> From<&'a ToolCall> for Call<'a> {
    fn from(call: &'a ToolCall) -> Self {
        let arguments = if call.arguments.is_empty() { NO_ARGUMENTS } else { &call.arguments };
        Call { id: &call.id, kind: "function", function: Function { name: &call.name, arguments } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::UsageSource;

    fn answer(message: MessageId) -> Answer<'static> {
        Answer {
            message,
            created_at: "2026-11-28T15:09:38.123Z",
            provider: "up",
            model: "org/m",
            finish_reason: FinishReason::Stop,
            reasoning: "",
            text: "",
            refusal: "",
            tool_calls: &[],
            usage: None,
        }
    }

    fn written(answer: Answer<'_>) -> serde_json::Value {
        serde_json::to_value(Completion::from(answer)).expect("it serialises")
    }

    #[test]
    fn a_whole_answer_has_the_documented_form() {
        let message = MessageId::new();
        let usage = Usage {
            input_tokens: 10,
            output_tokens: 7,
            reasoning_tokens: Some(3),
            cached_input_tokens: Some(4),
            total_tokens: 17,
            source: UsageSource::Reported,
        };
        let all = Answer { reasoning: "Two and two.", text: "4", usage: Some(&usage), ..answer(message) };
        let expected = json!({
            "id": format!("chatcmpl-{message}"),
            "object": "chat.completion",
            "created": 1_795_878_578,
            "model": "up/org/m",
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "4", "reasoning_content": "Two and two.", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 7,
                "total_tokens": 17,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
        });
        assert_eq!(written(all), expected);
    }

    #[test]
    fn beside_calls_or_a_refusal_there_may_be_no_content() {
        let message = MessageId::new();
        let call = |arguments: &str| ToolCall { id: "c".into(), name: "f".into(), arguments: arguments.into() };
        let calls = [call("{\"a\":1}"), call("")];
        let called = written(Answer { tool_calls: &calls, finish_reason: FinishReason::ToolCalls, ..answer(message) });
        let expected = json!([
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]);
        assert_eq!(called["choices"][0]["message"]["tool_calls"], expected);
        assert!(called["choices"][0]["message"]["content"].is_null());
        let refused = written(Answer { refusal: "No.", ..answer(message) });
        let expected = json!({"role": "assistant", "content": null, "refusal": "No."});
        assert_eq!(refused["choices"][0]["message"], expected);
        assert_eq!(written(answer(message))["choices"][0]["message"]["content"], "");
    }
}
