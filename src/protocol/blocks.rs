//! Numbers the content blocks of a message and marks the ends of its tool calls, the same way for every protocol.

use std::collections::HashSet;

use crate::event::{BlockKind, Delta, Event, ToolCallDelta};

/// Writes a message's content events. A block ends where the kind of content changes; every tool call has its own.
#[derive(Debug, Default)]
pub struct Blocks {
    next: u32,
    /// The block that content of the same kind goes on in.
    open: Option<(BlockKind, u32)>,
    calls: Vec<Call>,
    ids: HashSet<String>,
}

/// A tool call of the message.
#[derive(Debug)]
struct Call {
    id: String,
    block: u32,
    done: bool,
}

/// Names a tool call to the [`Blocks`] that began it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallRef(usize);

impl Blocks {
    /// A piece of thinking. Nothing is written where it is empty; so with all pieces.
    pub fn reasoning(&mut self, content: &str, out: &mut Vec<Event>) {
        self.content(BlockKind::Reasoning, Event::Reasoning, content, out);
    }

    /// A piece of the answer.
    pub fn text(&mut self, content: &str, out: &mut Vec<Event>) {
        self.content(BlockKind::Text, Event::Text, content, out);
    }

    /// A piece of a refusal.
    pub fn refusal(&mut self, content: &str, out: &mut Vec<Event>) {
        self.content(BlockKind::Refusal, Event::Refusal, content, out);
    }

    /// Begins a tool call and writes its first piece. `id` is what the provider calls it: one that is empty or already
    /// used in this message is replaced by one made here (`call_0`, `call_1`, …).
    pub fn begin_call(&mut self, id: &str, name: &str, arguments: &str, out: &mut Vec<Event>) -> CallRef {
        self.end_calls(out);
        let block = self.begin(BlockKind::ToolCall);
        let id = self.unique(id);
        let name = Some(name.to_owned());
        out.push(Event::ToolCall(ToolCallDelta {
            id: id.clone(),
            name,
            arguments: arguments.into(),
            block,
            done: false,
        }));
        self.calls.push(Call { id, block, done: false });
        CallRef(self.calls.len() - 1)
    }

    /// The next piece of a call's arguments. A call that was thought to be over goes on, and is marked as over once
    /// more: pieces of parallel calls may be interleaved, and none may be lost.
    pub fn call_arguments(&mut self, call: CallRef, arguments: &str, out: &mut Vec<Event>) {
        if arguments.is_empty() || self.calls.get(call.0).is_none() {
            return;
        }
        if self.calls[call.0].done {
            self.end_calls(out);
        }
        let Call { id, block, done } = &mut self.calls[call.0];
        *done = false;
        self.open = Some((BlockKind::ToolCall, *block));
        let (id, block) = (id.clone(), *block);
        out.push(Event::ToolCall(ToolCallDelta { id, name: None, arguments: arguments.into(), block, done: false }));
    }

    /// Marks the call in progress, if there is one, as over.
    pub fn end_calls(&mut self, out: &mut Vec<Event>) {
        let Some((BlockKind::ToolCall, _)) = self.open else { return };
        self.open = None;
        // At most one call is in progress, since other content and other calls end it first; nearly always the last.
        if let Some(call) = self.calls.iter_mut().rev().find(|call| !call.done) {
            call.done = true;
            let (id, block) = (call.id.clone(), call.block);
            out.push(Event::ToolCall(ToolCallDelta { id, name: None, arguments: String::new(), block, done: true }));
        }
    }

    /// How many tool calls the message holds so far.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    fn content(&mut self, kind: BlockKind, event: fn(Delta) -> Event, content: &str, out: &mut Vec<Event>) {
        if content.is_empty() {
            return;
        }
        let block = match self.open {
            Some((open, block)) if open == kind => block,
            _ => {
                self.end_calls(out);
                self.begin(kind)
            }
        };
        out.push(event(Delta { content: content.to_owned(), block, redacted: false }));
    }

    fn begin(&mut self, kind: BlockKind) -> u32 {
        let block = self.next;
        self.next = self.next.saturating_add(1);
        self.open = Some((kind, block));
        block
    }

    fn unique(&mut self, id: &str) -> String {
        let mut unique = id.to_owned();
        let mut number = self.calls.len();
        while unique.is_empty() || self.ids.contains(&unique) {
            unique = format!("call_{number}");
            number += 1;
        }
        self.ids.insert(unique.clone());
        unique
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, block and content of each event, for short comparisons.
    fn lines(events: &[Event]) -> Vec<String> {
        let line = |event: &Event| match event {
            Event::Reasoning(d) => format!("r{} {}", d.block, d.content),
            Event::Text(d) => format!("t{} {}", d.block, d.content),
            Event::Refusal(d) => format!("f{} {}", d.block, d.content),
            Event::ToolCall(c) => {
                format!("c{} {} {:?} {}{}", c.block, c.id, c.name, c.arguments, if c.done { "." } else { "" })
            }
            other => panic!("unexpected {other:?}"),
        };
        events.iter().map(line).collect()
    }

    #[test]
    fn a_block_ends_where_the_kind_changes() {
        let (mut blocks, mut out) = (Blocks::default(), Vec::new());
        blocks.reasoning("a", &mut out);
        blocks.text("", &mut out);
        blocks.reasoning("b", &mut out);
        blocks.text("c", &mut out);
        blocks.reasoning("d", &mut out);
        blocks.refusal("e", &mut out);
        assert_eq!(lines(&out), ["r0 a", "r0 b", "t1 c", "r2 d", "f3 e"]);
    }

    #[test]
    fn a_call_is_done_once_something_else_begins() {
        let (mut blocks, mut out) = (Blocks::default(), Vec::new());
        let first = blocks.begin_call("x", "add", "{", &mut out);
        blocks.call_arguments(first, "}", &mut out);
        blocks.begin_call("y", "sub", "{}", &mut out);
        blocks.text("so", &mut out);
        blocks.end_calls(&mut out);
        let add = ["c0 x Some(\"add\") {", "c0 x None }", "c0 x None ."];
        let rest = ["c1 y Some(\"sub\") {}", "c1 y None .", "t2 so"];
        assert_eq!(lines(&out), [&add[..], &rest[..]].concat());
    }

    #[test]
    fn pieces_of_interleaved_calls_are_kept() {
        let (mut blocks, mut out) = (Blocks::default(), Vec::new());
        let first = blocks.begin_call("x", "a", "1", &mut out);
        let second = blocks.begin_call("y", "b", "2", &mut out);
        blocks.call_arguments(first, "3", &mut out);
        blocks.call_arguments(second, "4", &mut out);
        blocks.end_calls(&mut out);
        let of = |id: &str| {
            let mine = |event: &Event| match event {
                Event::ToolCall(call) if call.id == id => Some((call.arguments.clone(), call.done)),
                _ => None,
            };
            out.iter().filter_map(mine).collect::<Vec<_>>()
        };
        for (id, arguments) in [("x", "13"), ("y", "24")] {
            assert_eq!(of(id).iter().map(|(piece, _)| piece.as_str()).collect::<String>(), arguments);
            assert!(of(id).last().unwrap().1);
        }
    }

    #[test]
    fn every_call_has_an_id_of_its_own() {
        let (mut blocks, mut out) = (Blocks::default(), Vec::new());
        for id in ["", "call_2", "", "same", "same"] {
            blocks.begin_call(id, "f", "", &mut out);
        }
        let ids: Vec<_> = blocks.calls.iter().map(|call| call.id.as_str()).collect();
        assert_eq!(ids, ["call_0", "call_2", "call_3", "same", "call_4"]);
    }
}
