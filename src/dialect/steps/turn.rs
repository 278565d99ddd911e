//! One message of a model while it is being made.

use std::collections::HashSet;

use super::{Kind, Made, Step};
use crate::event::{
    BlockKind, Complete, Delta, ErrorEvent, Event, MessageId, Reset, Start, SyncId, ToolCallDelta, ToolResult,
    ms_of_rfc3339,
};

/// What is known of a message.
#[derive(Debug)]
pub(super) struct Turn {
    iteration: u32,
    pub(super) message: Option<MessageId>,
    pub(super) tokens: bool,
    /// When it began, in milliseconds since the epoch, where its `start` was seen.
    pub(super) began_ms: Option<u64>,
    /// The time of the event that is looked at, as far as it is known.
    pub(super) at_ms: u64,
    /// Whether that event was there before the reader.
    pub(super) is_past: bool,
    /// Steps that may still grow.
    pub(super) open: Vec<Open>,
    /// How many steps there were.
    steps: u32,
    /// Blocks of thinking and of calls that were met.
    met: HashSet<u32>,
    answer: Answer,
}

#[derive(Debug, Default)]
struct Answer {
    /// Its place among the steps, once it has begun.
    step: Option<u32>,
    text: String,
}

/// A step that may still grow.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) kind: OpenKind,
    block: u32,
    step: u32,
    content: String,
    /// The number of its last event; `None` where all that is known of it comes from a `reset`.
    pub(super) last: Option<SyncId>,
}

#[derive(Debug)]
pub(super) enum OpenKind {
    Thought { redacted: bool },
    ToolUse { id: String, name: String },
}

impl Turn {
    pub(super) fn new(iteration: u32) -> Self {
        Turn {
            iteration,
            message: None,
            tokens: false,
            began_ms: None,
            at_ms: 0,
            is_past: false,
            open: Vec::new(),
            steps: 0,
            met: HashSet::new(),
            answer: Answer::default(),
        }
    }

    pub(super) fn apply(&mut self, id: Option<SyncId>, event: Event, made: &mut Made) {
        match event {
            Event::Start(start) => self.start(&start),
            Event::Reasoning(delta) => self.thought(id, delta, made),
            Event::Text(delta) | Event::Refusal(delta) => {
                self.close_thoughts(made);
                self.answer(&delta.content, made);
            }
            Event::ToolCall(call) => self.tool_use(id, call, made),
            Event::ToolResult(result) => self.tool_result(id, result, made),
            Event::Reset(reset) => self.reset(id, &reset, made),
            Event::Complete(end) => self.complete(id, &end, made),
            Event::Error(end) => self.error(id, &end, made),
            Event::Status(_) | Event::Usage(_) | Event::Message(_) | Event::Opaque(_) => {}
        }
    }

    fn start(&mut self, start: &Start) {
        self.began_ms = ms_of_rfc3339(&start.created_at);
    }

    fn thought(&mut self, id: Option<SyncId>, delta: Delta, made: &mut Made) {
        let Delta { content, block, redacted } = delta;
        let is_it = |open: &Open| matches!(open.kind, OpenKind::Thought { .. }) && open.block == block;
        if !self.open.iter().any(is_it) {
            self.close_thoughts(made);
            self.begin(OpenKind::Thought { redacted: false }, block);
        }
        let Some(open) = self.open.iter_mut().find(|open| is_it(open)) else { return };
        open.last = id;
        if let OpenKind::Thought { redacted: known } = &mut open.kind {
            *known |= redacted;
        }
        if self.tokens {
            let place = open.step;
            let part = Step { redacted, ..self.part(Kind::Thought, place, content, true) };
            made.0.push((id, part));
        } else {
            open.content.push_str(&content);
        }
    }

    fn answer(&mut self, content: &str, made: &mut Made) {
        let place = self.answer_step();
        if self.tokens {
            let part = self.part(Kind::FinalAnswer, place, content.to_owned(), true);
            made.0.push((None, part));
        } else {
            self.answer.text.push_str(content);
        }
    }

    fn answer_step(&mut self) -> u32 {
        let step = self.answer.step.unwrap_or_else(|| self.next_step());
        self.answer.step = Some(step);
        step
    }

    fn tool_use(&mut self, id: Option<SyncId>, call: ToolCallDelta, made: &mut Made) {
        self.close_thoughts(made);
        let is_it = |open: &Open| matches!(&open.kind, OpenKind::ToolUse { id, .. } if *id == call.id);
        let is_new = !self.open.iter().any(is_it);
        if is_new {
            let name = call.name.clone().unwrap_or_default();
            self.begin(OpenKind::ToolUse { id: call.id.clone(), name }, call.block);
        }
        let Some(at) = self.open.iter().position(is_it) else { return };
        self.open[at].last = id;
        self.open[at].content.push_str(&call.arguments);
        if call.done {
            let open = self.open.remove(at);
            self.close(open, &call.arguments, made);
        } else if self.tokens {
            let place = self.open[at].step;
            let step = self.part(Kind::ToolUse, place, call.arguments, true);
            made.0.push((id, Step { id: Some(call.id), name: call.name.filter(|_| is_new), ..step }));
        }
    }

    fn tool_result(&mut self, id: Option<SyncId>, result: ToolResult, made: &mut Made) {
        self.close_thoughts(made);
        let ToolResult { id: call, name, content, is_error } = result;
        let place = self.next_step();
        let step = self.part(Kind::ToolResult, place, content, false);
        made.0.push((id, Step { id: Some(call), name: Some(name), is_error: Some(is_error), ..step }));
    }

    fn complete(&mut self, id: Option<SyncId>, end: &Complete, made: &mut Made) {
        self.close_all(made);
        if let Some(began_ms) = self.began_ms.filter(|_| self.is_past) {
            self.at_ms = began_ms.saturating_add(end.timing.total_ms);
        }
        let place = self.answer_step();
        let text = std::mem::take(&mut self.answer.text);
        let step = self.part(Kind::FinalAnswer, place, text, false);
        made.0.push((id, Step { finish_reason: Some(end.finish_reason), ..step }));
    }

    fn error(&mut self, id: Option<SyncId>, end: &ErrorEvent, made: &mut Made) {
        self.close_all(made);
        let text = std::mem::take(&mut self.answer.text);
        let place = self.next_step();
        let step = self.part(Kind::Error, place, end.message.clone(), false);
        let (code, retryable) = (Some(end.code), Some(end.retryable));
        made.0.push((id, Step { code, retryable, text: Some(text).filter(|text| !text.is_empty()), ..step }));
    }

    /// The message as it is stored. What was told of it before is the same; what was not is told now.
    fn reset(&mut self, id: Option<SyncId>, reset: &Reset, made: &mut Made) {
        let first = made.0.len();
        let grows = reset.status == "streaming";
        let answer: String =
            reset.blocks.iter().filter(|block| is_answer(block.kind)).map(|block| block.text.as_str()).collect();
        for (place, block) in reset.blocks.iter().enumerate() {
            if is_answer(block.kind) || self.met.contains(&block.block) {
                continue;
            }
            let mut open = match block.kind {
                BlockKind::ToolCall => {
                    let call = reset.tool_calls.iter().find(|call| call.id == block.text);
                    let (name, arguments) = call.map(|call| (&call.name, &call.arguments)).unzip();
                    let kind = OpenKind::ToolUse { id: block.text.clone(), name: name.cloned().unwrap_or_default() };
                    Open { content: arguments.cloned().unwrap_or_default(), ..self.opened(kind, block.block) }
                }
                _ => self.opened(OpenKind::Thought { redacted: false }, block.block),
            };
            if block.kind == BlockKind::Reasoning {
                open.content.clone_from(&block.text);
            }
            if !(grows && place + 1 == reset.blocks.len()) {
                let content = open.content.clone();
                self.close(open, &content, made);
                continue;
            }
            if self.tokens {
                made.0.push((None, self.opening(&open)));
            }
            self.open.push(open);
        }
        if self.tokens {
            if self.answer.step.is_none() && !answer.is_empty() {
                self.answer(&answer, made);
            }
        } else if !answer.is_empty() {
            self.answer_step();
            self.answer.text = answer;
        }
        // Only what comes last says how far the reader is then.
        if let Some((number, _)) = made.0[first..].last_mut() {
            *number = id;
        }
    }

    /// All that is known of an open step, as a part.
    fn opening(&self, open: &Open) -> Step {
        match &open.kind {
            OpenKind::Thought { redacted } => {
                Step { redacted: *redacted, ..self.part(Kind::Thought, open.step, open.content.clone(), true) }
            }
            OpenKind::ToolUse { id, name } => {
                let step = self.part(Kind::ToolUse, open.step, open.content.clone(), true);
                Step { id: Some(id.clone()), name: Some(name.clone()), ..step }
            }
        }
    }

    fn close_thoughts(&mut self, made: &mut Made) {
        let thoughts = self.open.extract_if(.., |open| matches!(open.kind, OpenKind::Thought { .. }));
        for thought in thoughts.collect::<Vec<_>>() {
            self.close(thought, "", made);
        }
    }

    fn close_all(&mut self, made: &mut Made) {
        for open in std::mem::take(&mut self.open) {
            self.close(open, "", made);
        }
    }

    /// A step is whole. `rest` is what its last part brings, for readers of parts.
    fn close(&self, open: Open, rest: &str, made: &mut Made) {
        let Open { kind, step, content, last, .. } = open;
        let rest = self.tokens.then(|| rest.to_owned());
        let step = match kind {
            OpenKind::Thought { redacted } => {
                Step { redacted, ..self.part(Kind::Thought, step, rest.unwrap_or(content), false) }
            }
            OpenKind::ToolUse { id, name } => {
                let shown = rest.unwrap_or_else(|| format!("{name}({content})"));
                let step = self.part(Kind::ToolUse, step, shown, false);
                Step { id: Some(id), name: Some(name), arguments: Some(content), ..step }
            }
        };
        made.0.push((last, step));
    }

    fn begin(&mut self, kind: OpenKind, block: u32) {
        let open = self.opened(kind, block);
        self.open.push(open);
    }

    fn opened(&mut self, kind: OpenKind, block: u32) -> Open {
        self.met.insert(block);
        Open { kind, block, step: self.next_step(), content: String::new(), last: None }
    }

    fn next_step(&mut self) -> u32 {
        let step = self.steps;
        self.steps += 1;
        step
    }

    fn part(&self, kind: Kind, place: u32, content: String, partial: bool) -> Step {
        let step_id = self.message.filter(|_| self.tokens).map(|message| format!("{message}-{place}"));
        Step {
            kind,
            content,
            iteration: self.iteration,
            // Exact for a long time to come: milliseconds since the epoch have 41 bits.
            timestamp: self.at_ms as f64 / 1000.0,
            step_id,
            partial: self.tokens.then_some(partial),
            id: None,
            name: None,
            arguments: None,
            is_error: None,
            redacted: false,
            finish_reason: None,
            code: None,
            retryable: None,
            text: None,
        }
    }
}

fn is_answer(kind: BlockKind) -> bool {
    matches!(kind, BlockKind::Text | BlockKind::Refusal)
}
