//! What the tests of several dialects share: messages that are made side by side in one journal.

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{Dialect, Payloads, Source};
use crate::event::{
    Block, BlockKind, Check, Complete, ConversationId, Delta, Digest, ErrorCode, ErrorEvent, Event, FinishReason,
    GenerationId, Links, MessageId, PROTOCOL_VERSION, Reset, Role, Start, SyncId, Timing, ToolCall, ToolCallDelta,
    frame, rfc3339,
};

/// When all messages begin.
pub(crate) const BEGAN_MS: u64 = 1_641_234_567_123;

pub(crate) fn delta(content: &str, block: u32) -> Delta {
    Delta { content: content.to_owned(), block, redacted: false }
}

pub(crate) fn thought(content: &str, block: u32) -> Event {
    Event::Reasoning(delta(content, block))
}

pub(crate) fn text(content: &str, block: u32) -> Event {
    Event::Text(delta(content, block))
}

pub(crate) fn call(id: &str, arguments: &str, block: u32, done: bool) -> Event {
    let name = Some("search".to_owned());
    Event::ToolCall(ToolCallDelta { id: id.to_owned(), name, arguments: arguments.to_owned(), block, done })
}

pub(crate) fn start(message: MessageId) -> Event {
    let (conversation_id, generation_id) = (ConversationId::new(), GenerationId::new());
    Event::Start(Box::new(Start {
        protocol: PROTOCOL_VERSION,
        conversation_id,
        message_id: message,
        generation_id,
        role: Role::Assistant,
        reply_to: None,
        provider: "demo".into(),
        model: "thinker".into(),
        created_at: rfc3339(BEGAN_MS as i64 * 1000),
        links: Links::new("", conversation_id, generation_id),
        streaming: true,
    }))
}

pub(crate) fn complete(finish_reason: FinishReason) -> Event {
    let digest = Digest::of("");
    Event::Complete(Box::new(Complete {
        finish_reason,
        provider: "demo".into(),
        model: "thinker".into(),
        usage: None,
        timing: Timing { first_event_ms: Some(1), reasoning_ms: Some(2), total_ms: 900 },
        stored: true,
        check: Check { reasoning: digest.clone(), text: digest },
        is_final: true,
    }))
}

pub(crate) fn error() -> Event {
    Event::Error(Box::new(ErrorEvent {
        code: ErrorCode::ProviderIncomplete,
        message: "The stream broke off.".into(),
        retryable: true,
        retry_after_ms: None,
        provider: None,
        status: None,
        usage: None,
        stored: true,
        request_id: "r".into(),
        is_final: true,
    }))
}

/// A message of two thoughts, a call and an answer.
pub(crate) fn reset(message: MessageId, status: &str) -> Event {
    let block = |kind, block, text: &str| Block { kind, block, text: text.into() };
    Event::Reset(Box::new(Reset {
        message_id: message,
        status: status.into(),
        reasoning: "Hm.So".into(),
        text: "Yes".into(),
        tool_calls: vec![ToolCall { id: "a".into(), name: "search".into(), arguments: "{}".into() }],
        blocks: vec![
            block(BlockKind::Reasoning, 0, "Hm."),
            block(BlockKind::ToolCall, 1, "a"),
            block(BlockKind::Text, 2, "Yes"),
            block(BlockKind::Reasoning, 3, "So"),
        ],
        through: SyncId::new(1),
    }))
}

/// Events of several messages in one journal, each with its number.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) runs: Vec<(MessageId, Bytes)>,
    last: u64,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Journal { runs: Vec::new(), last: 0 }
    }

    pub(crate) fn add(&mut self, message: MessageId, event: &Event) {
        let mut out = BytesMut::new();
        self.last += frame::encode(SyncId::new(self.last + 1), event, None, &mut out);
        self.runs.push((message, out.freeze()));
    }

    pub(crate) fn of(message: MessageId, events: &[Event]) -> Self {
        let mut journal = Journal::new();
        events.iter().for_each(|event| journal.add(message, event));
        journal
    }

    /// What `dialect` makes of the events after `from`, joined to longer runs where `joins` says so.
    pub(crate) fn feed(&self, dialect: &mut dyn Dialect, from: u64, joins: &mut dyn FnMut() -> bool) -> Payloads {
        let mut out = Payloads::default();
        let mut waiting: Option<(MessageId, Vec<u8>)> = None;
        let (conversation, generation) = (ConversationId::new(), Some(GenerationId::new()));
        let source = |message| Source { conversation, generation, message };
        for (message, frames) in &self.runs {
            let frames = frame::after(frames, SyncId::new(from));
            match &mut waiting {
                Some((known, run)) if known == message && joins() => run.extend_from_slice(&frames),
                _ => {
                    if let Some((message, run)) = waiting.replace((*message, frames.to_vec())) {
                        dialect.feed(&source(message), &run, &mut out);
                    }
                }
            }
        }
        if let Some((message, run)) = waiting {
            dialect.feed(&source(message), &run, &mut out);
        }
        out
    }
}

/// Messages that are made side by side: for each its blocks, and an order in which their pieces come.
pub(crate) fn journals() -> impl Strategy<Value = Journal> {
    let block = (0..4u8, proptest::collection::vec("[a-z\"\n]{0,9}", 1..5));
    let message = (proptest::collection::vec(block, 0..6), any::<bool>());
    (proptest::collection::vec(message, 1..4), any::<u64>()).prop_map(|(messages, seed)| {
        let mut journal = Journal::new();
        let mut queues: Vec<(MessageId, VecDeque<Event>)> = Vec::new();
        for (blocks, fails) in messages {
            let id = MessageId::new();
            let mut events = VecDeque::from([start(id)]);
            for (block, (kind, pieces)) in (0..).zip(blocks) {
                let last = pieces.len() - 1;
                events.extend(pieces.iter().enumerate().map(|(place, piece)| match kind {
                    0 => thought(piece, block),
                    1 => text(piece, block),
                    2 => call(&format!("call_{block}"), piece, block, place == last),
                    _ => Event::Refusal(delta(piece, block)),
                }));
            }
            events.push_back(if fails { error() } else { complete(FinishReason::Stop) });
            queues.push((id, events));
        }
        let mut random = seed | 1;
        while !queues.is_empty() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = usize::try_from(random >> 33).unwrap_or(0) % queues.len();
            let (id, events) = &mut queues[place];
            match events.pop_front() {
                Some(event) => journal.add(*id, &event),
                None => drop(queues.remove(place)),
            }
        }
        journal
    })
}

/// Before the first event of the messages that are open at a number, and how many had begun before that.
pub(crate) fn early(journal: &Journal, at: u64) -> (u64, u32) {
    let mut begun: HashMap<MessageId, (u64, u64)> = HashMap::new();
    for (message, frames) in &journal.runs {
        for frame in frame::frames(frames) {
            let id = frame.id.get();
            begun.entry(*message).and_modify(|(_, last)| *last = id).or_insert((id, id));
        }
    }
    let open = begun.values().filter(|(first, last)| *first <= at && at < *last).map(|(first, _)| first - 1);
    let from = open.min().unwrap_or(at);
    (from, begun.values().filter(|(first, _)| *first <= from).count() as u32)
}
