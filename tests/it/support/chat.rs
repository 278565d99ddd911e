//! Builds streams in the OpenAI chat form.

use std::time::Duration;

use serde_json::{Value, json};

use super::steps::{Gate, Step, head};

/// A stream of `chat.completion.chunk` objects under construction, one HTTP chunk an event.
#[derive(Clone, Debug)]
pub struct Chat {
    steps: Vec<Step>,
}

impl Chat {
    /// A stream that has been accepted.
    pub fn new() -> Self {
        Self::without_head()
            .step(head(200, Some("text/event-stream")))
            .delta(&json!({"role": "assistant", "content": ""}))
    }

    /// Events without anything in front.
    pub const fn without_head() -> Self {
        Chat { steps: Vec::new() }
    }

    /// A whole answer in two deltas of each kind, with usage.
    pub fn answering(reasoning: &str, text: &str) -> Vec<Step> {
        let mut chat = Chat::new();
        for piece in halves(reasoning) {
            chat = chat.reasoning(piece);
        }
        for piece in halves(text) {
            chat = chat.text(piece);
        }
        chat.finish("stop").usage(&usage(11, 7, 3)).done()
    }

    /// Any step in between.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Waits for the test.
    #[must_use]
    pub fn gate(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    /// Waits for a while, as a model does between tokens.
    #[must_use]
    pub fn pause(self, time: Duration) -> Self {
        self.step(Step::Sleep(time))
    }

    /// An event with any JSON.
    #[must_use]
    pub fn event(self, json: &Value) -> Self {
        self.step(Step::Chunk(event_bytes(json)))
    }

    /// An event with a delta in choice 0.
    #[must_use]
    pub fn delta(self, delta: &Value) -> Self {
        let chunk = chunk(&json!([{"index": 0, "delta": delta, "finish_reason": null}]));
        self.event(&chunk)
    }

    /// A piece of thinking.
    #[must_use]
    pub fn reasoning(self, text: &str) -> Self {
        self.delta(&json!({"reasoning_content": text}))
    }

    /// A piece of the answer.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.delta(&json!({"content": text}))
    }

    /// The first piece of a tool call.
    #[must_use]
    pub fn tool(self, index: usize, id: &str, name: &str, arguments: &str) -> Self {
        let function = json!({"name": name, "arguments": arguments});
        self.delta(&json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}))
    }

    /// A further piece of a tool call.
    #[must_use]
    pub fn tool_more(self, index: usize, arguments: &str) -> Self {
        self.delta(&json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}))
    }

    /// The finish chunk.
    #[must_use]
    pub fn finish(self, reason: &str) -> Self {
        let chunk = chunk(&json!([{"index": 0, "delta": {}, "finish_reason": reason}]));
        self.event(&chunk)
    }

    /// The usage chunk, which has no choices.
    #[must_use]
    pub fn usage(self, usage: &Value) -> Self {
        let mut chunk = chunk(&json!([]));
        chunk["usage"] = usage.clone();
        self.event(&chunk)
    }

    /// Ends with `[DONE]`.
    pub fn done(self) -> Vec<Step> {
        self.step(Step::Chunk(b"data: [DONE]\n\n".to_vec())).end()
    }

    /// Ends the body without any marker.
    pub fn end(self) -> Vec<Step> {
        self.step(Step::End).steps()
    }

    /// The steps as they are.
    pub fn steps(self) -> Vec<Step> {
        self.steps
    }
}

/// Token counts in the OpenAI form, reasoning inside the output.
pub fn usage(input: u64, output: u64, reasoning: u64) -> Value {
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input + output,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    })
}

/// One event's bytes.
pub fn event_bytes(json: &Value) -> Vec<u8> {
    format!("data: {json}\n\n").into_bytes()
}

fn chunk(choices: &Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": choices})
}

fn halves(text: &str) -> impl Iterator<Item = &str> {
    let middle = (0..=text.len() / 2).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let (first, second) = text.split_at(middle);
    [first, second].into_iter().filter(|half| !half.is_empty())
}
