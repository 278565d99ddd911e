//! Coming back: nothing is lost, nothing is doubled, and a reader is told when exact events cannot be had.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::chat::Chat;
use crate::support::fold::Message;
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::sse::{Frame, Reader};
use crate::support::steps::Gate;
use crate::support::upstream::Upstream;

/// A generation that has ended, as its first reader saw it.
async fn finished(gateway: &Gateway, upstream: &Upstream) -> Reader {
    let words = (0..20).fold(Chat::new().reasoning("Hm. ").reasoning("Well."), |chat, n| chat.text(&format!("w{n} ")));
    upstream.script("finished", words.finish("stop").done());
    let mut reader = gateway.stream("finished").await;
    reader.finish().await;
    Message::finished(&reader.frames);
    reader
}

#[tokio::test]
async fn a_reader_that_was_cut_goes_on_where_it_was() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let gate = Gate::new();
    let chat = Chat::new().reasoning("Hm.").text("one ").gate(&gate).text("two ").gate(&gate).text("three");
    upstream.script("m", chat.finish("stop").done());
    let mut reader = gateway.stream("m").await;
    let mut never_cut = Reader::away(gateway.address());
    reader.until_content("text", "one ").await;
    never_cut.resume_with(&Request::get(reader.events_path())).await.expect("a stream");
    reader.cut();
    gate.pass();
    never_cut.until_content("text", "two ").await;
    reader.resume().await;
    let resumed = reader.next().await.expect("an event");
    assert_eq!(resumed.id, None);
    assert_eq!(resumed.json["type"], "resumed");
    assert_eq!(resumed.json["verdict"], "exact");
    assert_eq!(resumed.json["after"], reader.last_id.expect("a number"));
    reader.until_content("text", "two ").await;
    gate.open();
    reader.finish().await;
    never_cut.finish().await;
    assert_eq!(reader.numbered(), never_cut.numbered());
    assert_eq!(Message::finished(&reader.frames).text, "one two three");
}

#[tokio::test]
async fn every_position_can_be_asked_for_in_three_ways() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let whole = finished(&gateway, &upstream).await;
    let path = whole.events_path();
    let ids: Vec<u64> = whole.numbered().iter().map(|(id, _)| *id).collect();
    let last = whole.last_id.expect("a number");
    for (position, id) in ids.iter().enumerate().filter(|(_, id)| **id < last) {
        for request in [
            Request::get(path).header("last-event-id", id),
            Request::get(format!("{path}?after={id}")),
            Request::get(format!("{path}?after={}", ids[ids.len() - 1 - position])).header("last-event-id", id),
        ] {
            let mut reader = gateway.open(&request).await;
            reader.finish().await;
            assert_eq!(reader.verdict(), "exact", "{request:?}");
            assert_eq!(reader.frames[0].kind(), "resumed", "{request:?}");
            assert_eq!(reader.frames[0].json["after"], *id, "{request:?}");
            assert_eq!(reader.numbered(), whole.numbered()[position + 1..], "{request:?}");
        }
    }
}

#[tokio::test]
async fn no_position_and_position_zero_mean_the_start() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let whole = finished(&gateway, &upstream).await;
    let path = whole.events_path();
    for request in [
        Request::get(path),
        Request::get(path).header("last-event-id", 0),
        Request::get(format!("{path}?after=0")),
        Request::get(format!("{path}?after={}", u64::MAX)).header("last-event-id", 0),
    ] {
        let mut late = gateway.open(&request).await;
        late.finish().await;
        assert_eq!(late.numbered(), whole.numbered(), "{request:?}");
    }
}

#[tokio::test]
async fn nothing_follows_the_end() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let whole = finished(&gateway, &upstream).await;
    let path = whole.events_path();
    let last = whole.last_id.expect("a number");
    for request in [
        Request::get(path).header("last-event-id", last),
        Request::get(format!("{path}?after={last}")),
        whole.resume_request(),
    ] {
        assert!(gateway.send(&request).await.expect(204).body.is_empty());
    }
}

#[tokio::test]
async fn a_compact_answer_is_one_reset_and_the_rest() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let whole = finished(&gateway, &upstream).await;
    let expected = Message::finished(&whole.frames);
    let mut compact = gateway.open(&Request::get(format!("{}?compact=1", whole.events_path()))).await;
    compact.finish().await;
    assert_eq!(without_counts(&compact), ["resumed", "reset", "complete"]);
    assert_eq!(compact.verdict(), "compacted");
    let message = Message::finished(&compact.frames);
    assert_eq!((&message.reasoning, &message.text), (&expected.reasoning, &expected.text));
    let reset = &compact.frames[1];
    assert_eq!(reset.json["through"], reset.id.expect("a number"));
    assert_eq!(reset.json["messageId"], expected.start.expect("a start")["messageId"]);
    assert!(reset.json["blocks"].as_array().is_some_and(|blocks| blocks.len() == 2), "{}", reset.data);

    let gate = Gate::new();
    upstream.script("m", Chat::new().reasoning("Hm.").text("one ").gate(&gate).text("two").finish("stop").done());
    let mut first = gateway.stream("m").await;
    first.until_content("text", "one ").await;
    let mut late = gateway.open(&Request::get(format!("{}?compact=1", first.events_path()))).await;
    let reset = late.until_kind("reset").await;
    assert_eq!((&reset.json["reasoning"], &reset.json["text"]), (&json!("Hm."), &json!("one ")));
    assert_eq!(reset.json["status"], "streaming");
    assert_eq!(reset.id, first.last_id);
    gate.open();
    late.finish().await;
    assert_eq!(Message::finished(&late.frames).text, "one two");
    assert_eq!(without_counts(&late), ["resumed", "reset", "text", "complete"]);
}

/// The types of the events that are not about tokens.
fn without_counts(reader: &Reader) -> Vec<&str> {
    let mut kinds = reader.kinds();
    kinds.retain(|kind| *kind != "usage");
    kinds
}

/// The events of a conversation by message, in the order of their first event.
fn by_message(frames: &[Frame]) -> BTreeMap<String, Vec<Frame>> {
    let mut messages: BTreeMap<String, Vec<Frame>> = BTreeMap::new();
    for frame in frames.iter().filter(|frame| frame.kind() != "resumed") {
        let id = frame.json["messageId"].as_str();
        let id = id.unwrap_or_else(|| panic!("an event that names no message: {}", frame.data));
        messages.entry(id.to_owned()).or_default().push(frame.clone());
    }
    messages
}

#[tokio::test]
async fn a_conversation_is_read_with_all_that_happens_in_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let (first_gate, second_gate) = (Gate::new(), Gate::new());
    upstream.script("one", Chat::new().text("1a ").gate(&first_gate).text("1b").finish("stop").done());
    upstream.script("two", Chat::new().text("2a ").gate(&second_gate).text("2b").finish("stop").done());
    let made = gateway.post("/api/conversations", &json!({})).await.expect(201).json();
    let conversation = made["id"].as_str().expect("an id");
    let path = format!("/api/conversations/{conversation}/events");
    let mut reader = gateway.open(&Request::get(&path).header("accept", "text/event-stream")).await;
    reader.set_events_path(&path);
    let body = |model: &str, prompt: &str| json!({"model": model, "prompt": prompt, "conversationId": conversation});
    let mut one = gateway.generate(&body("up/one", "First?")).await;
    one.until_content("text", "1a ").await;
    let mut two = gateway.generate(&body("up/two", "Second?")).await;
    two.until_content("text", "2a ").await;
    second_gate.open();
    two.finish().await;
    first_gate.open();
    one.finish().await;

    let ended = |frames: &[Frame]| frames.iter().filter(|frame| frame.is_terminal()).count();
    while ended(&reader.frames) < 2 {
        reader.next().await.expect("the conversation goes on");
    }
    assert_eq!(reader.numbered()[0].0, 1, "numbers begin at 1");
    let asked: Vec<_> = reader.frames.iter().filter(|frame| frame.kind() == "message").collect();
    let asked: Vec<_> = asked.iter().map(|frame| (frame.json["role"].as_str(), frame.content())).collect();
    assert_eq!(asked, [(Some("user"), "First?"), (Some("user"), "Second?")]);
    let mut texts: Vec<_> = by_message(&reader.frames)
        .into_values()
        .filter(|frames| frames[0].kind() == "start")
        .map(|frames| Message::finished(&frames).text)
        .collect();
    texts.sort();
    assert_eq!(texts, ["1a 1b", "2a 2b"]);
    for (frames, own) in [(&one.frames, "1a 1b"), (&two.frames, "2a 2b")] {
        assert_eq!(Message::finished(frames).text, own);
        assert!(frames.iter().all(|frame| frame.kind() != "message"), "a user's message in a generation's stream");
        let numbers: Vec<_> = reader.numbered().iter().map(|(id, _)| *id).collect();
        assert!(frames.iter().filter_map(|frame| frame.id).all(|id| numbers.contains(&id)), "other numbers");
    }

    let middle = reader.frames.iter().filter_map(|frame| frame.id).nth(4).expect("more than four events");
    let mut late = gateway.open(&Request::get(&path).header("last-event-id", middle)).await;
    while ended(&late.frames) < 2 {
        late.next().await.expect("the conversation goes on");
    }
    assert_eq!(late.verdict(), "exact");
    let rest: Vec<_> = reader.numbered().into_iter().filter(|(id, _)| *id > middle).collect();
    assert_eq!(late.numbered(), rest);
}

#[tokio::test]
async fn a_reader_of_a_conversation_is_told_what_is_said_later() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let whole = finished(&gateway, &upstream).await;
    let conversation = whole.headers.expect("x-conversation-id");
    let path = format!("/api/conversations/{conversation}/events");
    let mut reader = gateway.open(&Request::get(&path).header("last-event-id", whole.last_id.expect("a number"))).await;
    let body = json!({"model": "up/finished", "prompt": "Again!", "conversationId": conversation});
    gateway.generate_json(&body).await;
    let message = reader.until_kind("message").await;
    assert_eq!(message.content(), "Again!");
    assert!(message.id > whole.last_id);
    let terminal = reader.until("an end", Frame::is_terminal).await;
    assert_eq!(terminal.json["final"], Value::Bool(true));
}
