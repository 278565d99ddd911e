use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::dialect::native;
use crate::event::{
    Block, BlockKind, Check, Complete, ConversationId, Delta as DeltaEvent, Digest, FinishReason, GenerationId,
    MessageId, Status, Timing, ToolCallDelta, Usage, UsageSource,
};

fn source() -> Source {
    let id = |text: &str| uuid::Uuid::parse_str(text).expect("an id");
    Source {
        conversation: ConversationId::from_uuid(id("0192f0c1-7a00-7000-8000-0000000000c1")),
        generation: Some(GenerationId::from_uuid(id("0192f0c1-7a00-7000-8000-0000000000a1"))),
        message: MessageId::from_uuid(id("0192f0c1-7a00-7000-8000-0000000000b1")),
    }
}

fn delta(content: &str, block: u32) -> DeltaEvent {
    DeltaEvent { content: content.to_owned(), block, redacted: false }
}

fn complete() -> Event {
    Event::Complete(Box::new(Complete {
        finish_reason: FinishReason::Stop,
        provider: "demo".into(),
        model: "thinker".into(),
        usage: Some(Usage {
            input_tokens: 1,
            output_tokens: 2,
            reasoning_tokens: None,
            cached_input_tokens: None,
            total_tokens: 3,
            source: UsageSource::Reported,
        }),
        timing: Timing { first_event_ms: Some(1), reasoning_ms: None, total_ms: 2 },
        stored: true,
        check: Check { reasoning: Digest::of(""), text: Digest::of("") },
        is_final: true,
    }))
}

fn reset() -> Event {
    Event::Reset(Box::new(Reset {
        message_id: source().message,
        status: "streaming".into(),
        reasoning: "so".into(),
        text: "yes".into(),
        tool_calls: Vec::new(),
        blocks: vec![Block { kind: BlockKind::Text, block: 0, text: "yes".into() }],
        through: SyncId::new(8),
    }))
}

fn run(first: u64, events: &[Event]) -> BytesMut {
    let (mut out, mut next) = (BytesMut::new(), SyncId::new(first));
    for event in events {
        next = next.plus(frame::encode(next, event, None, &mut out));
    }
    out
}

fn told(spelling: Spelling, features: Features, frames: &[u8]) -> Vec<Value> {
    let mut out = Payloads::default();
    Sync::new(spelling, features).feed(&source(), frames, &mut out);
    out.iter()
        .map(|payload| {
            let value: Value = serde_json::from_slice(payload.data).expect("JSON");
            let id = value.get("syncId").or_else(|| value.get("sync_id")).and_then(Value::as_u64);
            assert_eq!(payload.id.map(SyncId::get), id, "the transport's number is the message's");
            value
        })
        .collect()
}

#[test]
fn each_kind_has_its_documented_form() {
    let call = ToolCallDelta { id: "c".into(), name: Some("f".into()), arguments: "{}".into(), block: 2, done: true };
    let events = [
        Event::Reasoning(delta("a \"b\"\n", 0)),
        Event::Text(delta("é", 1)),
        Event::Refusal(delta("no", 1)),
        Event::ToolCall(call),
        complete(),
    ];
    let message = "0192f0c1-7a00-7000-8000-0000000000b1";
    let seen = told(Spelling::Camel, Features::ALL, &run(7, &events));
    let expected_update = json!({
        "type": "update", "syncId": 7, "messageId": message, "delta": { "reasoning": "a \"b\"\n" }, "block": 0,
    });
    assert_eq!(seen[0], expected_update);
    assert_eq!(seen[1]["delta"], json!({ "content": "é" }));
    let refusal = json!({
        "type": "event", "syncId": 9, "messageId": message, "event": { "type": "refusal", "content": "no", "block": 1 },
    });
    assert_eq!(seen[2], refusal);
    assert_eq!(seen[3]["event"]["type"], "tool_call");
    assert_eq!(
        (&seen[4]["type"], &seen[4]["syncId"], &seen[4]["messageId"]),
        (&"complete".into(), &11.into(), &message.into())
    );
    assert_eq!((&seen[4]["finishReason"], &seen[4]["final"]), (&"stop".into(), &true.into()));
    assert_eq!(seen.len(), 5);
}

#[test]
fn only_optional_kinds_can_be_left_out() {
    let usage = complete();
    let Event::Complete(end) = &usage else { unreachable!("built so") };
    let events = [
        Event::Status(Status::of_tool("plan")),
        Event::Reasoning(delta("a", 0)),
        Event::Text(delta("b", 1)),
        Event::Usage(end.usage.clone().expect("counts")),
        reset(),
        complete(),
    ];
    let kinds = |features| -> Vec<String> {
        let seen = told(Spelling::Camel, features, &run(1, &events));
        let kind = |value: &Value| value["event"]["type"].as_str().or(value["type"].as_str()).map(str::to_owned);
        seen.iter().filter_map(kind).collect()
    };
    assert_eq!(kinds(Features::NONE), ["update", "reset", "complete"]);
    assert_eq!(kinds(Features::ALL), ["status", "update", "update", "usage", "reset", "complete"]);
    let names = ["usage".to_owned(), "status".to_owned()];
    assert_eq!(kinds(Features::named(&names).expect("names")), ["status", "update", "usage", "reset", "complete"]);
    assert_eq!(Features::named(&["emotions".to_owned()]), Err("emotions"));
}

#[test]
fn a_pascal_client_is_told_updates_ends_and_nothing_else() {
    let events = [Event::Status(Status::of_tool("plan")), Event::Text(delta("b", 1)), reset(), complete()];
    let seen = told(Spelling::Pascal, Features::ALL, &run(1, &events));
    let message = "0192f0c1-7a00-7000-8000-0000000000b1";
    let update =
        json!({ "type": "Update", "sync_id": 2, "message_id": message, "delta": { "content": "b" }, "block": 1 });
    assert_eq!(seen[0], update);
    let replaced = json!({
        "type": "Update", "sync_id": 3, "message_id": message, "replace": true,
        "delta": { "content": "yes", "reasoning": "so" },
    });
    assert_eq!(seen[1], replaced);
    assert_eq!((&seen[2]["type"], &seen[2]["finish_reason"]), (&"Complete".into(), &"stop".into()));
    assert_eq!((&seen[2]["timing"]["first_event_ms"], &seen[2]["usage"]["total_tokens"]), (&1.into(), &3.into()));
    assert_eq!(seen.len(), 3);
}

#[test]
fn what_has_no_number_is_given_none() {
    let frame = native::single(None, &reset(), None, None);
    assert!(told(Spelling::Camel, Features::ALL, &frame)[0].get("syncId").is_none());
    assert!(told(Spelling::Pascal, Features::ALL, &frame)[0].get("sync_id").is_none());
}

proptest! {
    #[test]
    fn updates_say_what_the_frames_say(
        pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<char>(), 0..900)), 0..8),
        spelling in prop_oneof![Just(Spelling::Camel), Just(Spelling::Pascal)],
    ) {
        let events: Vec<Event> = pieces
            .iter()
            .map(|(thinks, text)| {
                let delta = delta(&String::from_iter(text), 3);
                if *thinks { Event::Reasoning(delta) } else { Event::Text(delta) }
            })
            .collect();
        let (mut reasoning, mut content) = (String::new(), String::new());
        for value in told(spelling, Features::ALL, &run(1, &events)) {
            reasoning.push_str(value["delta"]["reasoning"].as_str().unwrap_or_default());
            content.push_str(value["delta"]["content"].as_str().unwrap_or_default());
            prop_assert_eq!(&value["block"], 3);
        }
        let said = |thinks| -> String {
            pieces.iter().filter(|(kind, _)| *kind == thinks).flat_map(|(_, text)| text).collect()
        };
        prop_assert_eq!(reasoning, said(true));
        prop_assert_eq!(content, said(false));
    }
}
