use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::openai::{Answer, Completion};
use crate::event::{
    Check, ConversationId, Delta, Digest, ErrorCode, ErrorEvent, FinishReason, Fold, GenerationId, Links, MessageId,
    Role, Start, SyncId, Timing, ToolCallDelta, Usage, UsageSource, UserMessage,
};

fn source() -> Source {
    Source {
        conversation: ConversationId::new(),
        generation: Some(GenerationId::new()),
        message: "0192f0c1-7a00-7000-8000-0000000000c1".parse().expect("an id"),
    }
}

fn start(source: &Source) -> Event {
    let generation = source.generation.expect("it has one");
    Event::Start(Box::new(Start {
        protocol: 1,
        conversation_id: source.conversation,
        message_id: source.message,
        generation_id: generation,
        role: Role::Assistant,
        reply_to: None,
        provider: "up".into(),
        model: "m".into(),
        created_at: "2026-11-28T15:09:38.123Z".into(),
        links: Links::new("", source.conversation, generation),
        streaming: true,
    }))
}

fn delta(content: &str) -> Delta {
    Delta { content: content.to_owned(), block: 0, redacted: false }
}

fn call(id: &str, name: Option<&str>, arguments: &str, done: bool) -> Event {
    let (id, name) = (id.to_owned(), name.map(str::to_owned));
    Event::ToolCall(ToolCallDelta { id, name, arguments: arguments.to_owned(), block: 1, done })
}

fn usage() -> Usage {
    Usage {
        input_tokens: 5,
        output_tokens: 7,
        reasoning_tokens: Some(3),
        cached_input_tokens: None,
        total_tokens: 12,
        source: UsageSource::Reported,
    }
}

fn complete(finish_reason: FinishReason, usage: Option<Usage>) -> Event {
    let nothing = || Digest::of("");
    Event::Complete(Box::new(Complete {
        finish_reason,
        provider: "up".into(),
        model: "m".into(),
        usage,
        timing: Timing::default(),
        stored: true,
        check: Check { reasoning: nothing(), text: nothing() },
        is_final: true,
    }))
}

fn encoded(events: &[Event]) -> Bytes {
    let (mut out, mut next) = (BytesMut::new(), SyncId::new(1));
    for event in events {
        next = next.plus(frame::encode(next, event, None, &mut out));
    }
    out.freeze()
}

fn texts(payloads: &Payloads) -> Vec<String> {
    payloads
        .iter()
        .map(|payload| {
            assert_eq!((payload.id, payload.name), (None, None));
            std::str::from_utf8(payload.data).expect("UTF-8").to_owned()
        })
        .collect()
}

/// All payloads for these frames, fed in one piece.
fn written(stream: &mut ChatStream, frames: &[u8]) -> Vec<String> {
    let mut out = Payloads::default();
    stream.feed(&source(), frames, &mut out);
    texts(&out)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_stream_has_the_documented_form() {
    let events = [
        start(&source()),
        Event::Status(Status::of_tool("a plan")),
        Event::Reasoning(delta("Two \"and\"\ntwo.")),
        Event::Usage(usage()),
        Event::Text(delta("4")),
        complete(FinishReason::Stop, Some(usage())),
    ];
    let common = "\"id\":\"chatcmpl-0192f0c1-7a00-7000-8000-0000000000c1\",\"object\":\"chat.completion.chunk\",\
                  \"created\":1795878578,\"model\":\"up/m\"";
    let chunk = |delta: &str, finish: &str| {
        format!("{{{common},\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}")
    };
    let expected = [
        chunk(r#"{"role":"assistant","content":""}"#, "null"),
        chunk(r#"{"reasoning_content":"Two \"and\"\ntwo."}"#, "null"),
        chunk(r#"{"content":"4"}"#, "null"),
        chunk("{}", "\"stop\""),
        "[DONE]".to_owned(),
    ];
    assert_eq!(written(&mut ChatStream::new(false), &encoded(&events)), expected);

    // Where token counts are asked for, each chunk has the key.
    let with_usage = written(&mut ChatStream::new(true), &encoded(&events));
    let (last, before) = with_usage[..5].split_last().expect("they are there");
    assert!(before.iter().all(|chunk| json_of(chunk)["usage"].is_null() && chunk.contains("\"usage\":null")));
    let counted = json!({
        "prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12,
        "completion_tokens_details": {"reasoning_tokens": 3},
    });
    assert_eq!((&json_of(last)["usage"], &json_of(last)["choices"]), (&counted, &json!([])));
    assert_eq!(with_usage[5..], ["[DONE]"]);
}

#[test]
fn calls_are_numbered_and_each_is_introduced_once() {
    let events = [
        call("a", Some("add"), "{\"x\"", false),
        call("b", Some("now"), "", true),
        call("a", None, ":1}", true),
        call("c", Some("late"), "", false),
        complete(FinishReason::ToolCalls, None),
    ];
    let written = written(&mut ChatStream::new(false), &encoded(&events));
    let deltas: Vec<Value> = written[1..written.len() - 2]
        .iter()
        .map(|chunk| json_of(chunk)["choices"][0]["delta"]["tool_calls"][0].clone())
        .collect();
    let introduced = |index: u32, id: &str, name: &str| json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
    let arguments = |index: u32, text: &str| json!({"index": index, "function": {"arguments": text}});
    let expected = [
        introduced(0, "a", "add"),
        arguments(0, "{\"x\""),
        introduced(1, "b", "now"),
        arguments(0, ":1}"),
        introduced(2, "c", "late"),
        arguments(1, "{}"),
        arguments(2, "{}"),
    ];
    assert_eq!(deltas, expected);
    assert_eq!(json_of(&written[written.len() - 2])["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn every_reason_has_a_word_that_clients_know() {
    for (reason, word) in [
        (FinishReason::Stop, "stop"),
        (FinishReason::Length, "length"),
        (FinishReason::ToolCalls, "tool_calls"),
        (FinishReason::ContentFilter, "content_filter"),
        (FinishReason::Cancelled, "stop"),
    ] {
        let written = written(&mut ChatStream::new(false), &encoded(&[complete(reason, None)]));
        assert_eq!(json_of(&written[1])["choices"][0]["finish_reason"], word);
    }
}

#[test]
fn a_fault_takes_the_place_of_the_end() {
    let error = Event::Error(Box::new(ErrorEvent {
        code: ErrorCode::ProviderIncomplete,
        message: "up stopped in the middle.".into(),
        retryable: true,
        retry_after_ms: None,
        provider: None,
        status: None,
        usage: None,
        stored: true,
        request_id: "r".into(),
        is_final: true,
    }));
    let events = [start(&source()), Event::Text(delta("Half")), error, Event::Text(delta("never"))];
    let written = written(&mut ChatStream::new(true), &encoded(&events));
    let expected = json!({"error": {
        "message": "up stopped in the middle.", "type": "server_error", "param": null, "code": "provider_incomplete",
    }});
    assert_eq!(written.len(), 3, "{written:?}");
    assert_eq!(json_of(&written[2]), expected);
}

#[test]
fn another_model_is_named_from_then_on() {
    let next = Status {
        phase: "fallback".into(),
        message: String::new(),
        provider: Some("other".into()),
        model: Some("n".into()),
        ..Status::default()
    };
    let events = [start(&source()), Event::Status(next), Event::Text(delta("Hi"))];
    let models: Vec<Value> = written(&mut ChatStream::new(false), &encoded(&events))
        .iter()
        .map(|chunk| json_of(chunk)["model"].clone())
        .collect();
    assert_eq!(models, ["up/m", "other/n"]);
}

/// What a client joins: reasoning, text, refusal, and each call.
#[derive(PartialEq, Default, Debug)]
struct Joined {
    texts: [String; 3],
    calls: Vec<(String, String, String)>,
    finish: Option<String>,
}

impl Joined {
    fn of(payloads: &[String]) -> Self {
        let mut joined = Joined::default();
        for chunk in payloads.iter().filter(|text| *text != "[DONE]").map(|text| json_of(text)) {
            let choice = &chunk["choices"][0];
            for (at, key) in ["reasoning_content", "content", "refusal"].into_iter().enumerate() {
                joined.texts[at].push_str(choice["delta"][key].as_str().unwrap_or_default());
            }
            for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let index = call["index"].as_u64().expect("a number") as usize;
                if index == joined.calls.len() {
                    joined.calls.push((text(&call["id"]), text(&call["function"]["name"]), String::new()));
                }
                joined.calls[index].2.push_str(&text(&call["function"]["arguments"]));
            }
            joined.finish = choice["finish_reason"].as_str().map(str::to_owned).or(joined.finish);
        }
        joined
    }

    /// The same from the document.
    fn of_document(document: &Value) -> Self {
        let (choice, text) = (&document["choices"][0], |value: &Value| value.as_str().unwrap_or_default().to_owned());
        let message = &choice["message"];
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        Joined {
            texts: ["reasoning_content", "content", "refusal"].map(|key| text(&message[key])),
            calls: calls
                .map(|call| (text(&call["id"]), text(&call["function"]["name"]), text(&call["function"]["arguments"])))
                .collect(),
            finish: Some(text(&choice["finish_reason"])),
        }
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zé \"\\\\\n\\x01]{0,12}",
        1 => proptest::collection::vec(any::<char>(), 0..1500).prop_map(String::from_iter),
        1 => "[a-z]{3600,4100}",
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    (0..12u8, any_text(), any::<bool>(), 0..3u8).prop_map(|(kind, content, flag, which)| match kind {
        0..=3 => Event::Text(delta(&content)),
        4..=6 => Event::Reasoning(Delta { content, block: 1, redacted: flag }),
        7 => Event::Refusal(delta(&content)),
        8 | 9 => call(&format!("call_{which}"), Some("f"), &content, flag),
        10 => Event::Usage(usage()),
        _ => Event::Message(UserMessage { message_id: MessageId::new(), role: Role::User, content }),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn it_does_not_matter_how_frames_are_cut_into_runs_or_written(
        events in proptest::collection::vec(any_event(), 0..20),
        cuts in proptest::collection::vec(any::<bool>(), 64),
        with_usage in any::<bool>(),
    ) {
        let source = source();
        let events: Vec<Event> = std::iter::once(start(&source))
            .chain(events)
            .chain([complete(FinishReason::Length, Some(usage()))])
            .collect();
        let run = encoded(&events);
        let whole = written(&mut ChatStream::new(with_usage), &run);

        let (mut stream, mut out, mut from) = (ChatStream::new(with_usage), Payloads::default(), 0);
        let ends = frame::frames(&run).skip(1).map(|frame| frame.offset).zip(cuts.iter().cycle());
        for (end, _) in ends.filter(|(_, cut)| **cut) {
            stream.feed(&source, &run[from..end], &mut out);
            from = end;
        }
        stream.feed(&source, &run[from..], &mut out);
        prop_assert_eq!(&texts(&out), &whole);

        // The same objects with their keys in another order take the way of the parser.
        let mut reordered = Vec::new();
        for frame in frame::frames(&run) {
            let Value::Object(object) = serde_json::from_slice(frame.json).expect("JSON") else { unreachable!() };
            let turned: serde_json::Map<String, Value> = object.into_iter().rev().collect();
            reordered.extend_from_slice(format!("id: {}\ndata: {}\n\n", frame.id, Value::Object(turned)).as_bytes());
        }
        prop_assert_eq!(&written(&mut ChatStream::new(with_usage), &reordered), &whole);

        // No line is too long, and together they are the document.
        prop_assert!(whole.iter().all(|payload| payload.len() + "data: ".len() <= frame::MAX_LINE_BYTES));
        let mut fold = Fold::default();
        events.iter().for_each(|event| fold.apply(event, 0));
        let answer = Answer {
            message: source.message,
            created_at: "2026-11-28T15:09:38.123Z",
            provider: "up",
            model: "m",
            finish_reason: FinishReason::Length,
            reasoning: &fold.reasoning,
            text: &fold.text,
            refusal: &fold.refusal,
            tool_calls: &fold.tool_calls,
            usage: fold.usage.as_ref(),
        };
        let document = serde_json::to_value(Completion::from(answer)).expect("it serialises");
        prop_assert_eq!(Joined::of(&whole), Joined::of_document(&document));
    }

    #[test]
    fn a_reset_adds_what_was_not_said_and_nothing_twice(
        events in proptest::collection::vec(any_event(), 0..12),
        known in 0..12usize,
    ) {
        let source = source();
        let mut fold = Fold::default();
        events.iter().for_each(|event| fold.apply(event, 0));
        let end = complete(FinishReason::Stop, None);
        let reset = Event::Reset(Box::new(fold.reset(source.message, "complete", SyncId::new(99))));
        let told: Vec<Event> = events.iter().take(known).cloned().chain([reset, end.clone()]).collect();
        let all: Vec<Event> = events.iter().cloned().chain([end]).collect();
        let all = written(&mut ChatStream::new(false), &encoded(&all));
        let told = written(&mut ChatStream::new(false), &encoded(&told));
        prop_assert_eq!(Joined::of(&told), Joined::of(&all));
    }
}
