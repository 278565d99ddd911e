use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::testing::{BEGAN_MS, Journal, call, complete, early, error, journals, reset, start, text, thought};
use crate::event::{Event, FinishReason, frame};

fn settings(join_chars: usize, after: u64) -> Settings {
    Settings { join_chars, after: SyncId::new(after), enveloped: false }
}

fn progress(settings: Settings) -> Progress {
    let mut progress = Progress::new(settings, Box::new(|_| "task_1".into()));
    progress.set_now(BEGAN_MS);
    progress
}

fn read(out: &Payloads) -> Vec<(Option<u64>, Value)> {
    let read = out.iter().map(|payload| {
        assert_eq!(payload.name, Some("ai_progress"));
        (payload.id.map(SyncId::get), serde_json::from_slice(payload.data).expect("JSON"))
    });
    read.collect()
}

fn told(journal: &Journal, settings: Settings, from: u64) -> Vec<(Option<u64>, Value)> {
    read(&journal.feed(&mut progress(settings), from, &mut || false))
}

fn brief(told: &[(Option<u64>, Value)]) -> Vec<(Option<u64>, &str, &str)> {
    let brief = told.iter().map(|(id, message)| {
        (*id, message["type"].as_str().expect("a type"), message["text"].as_str().expect("a text"))
    });
    brief.collect()
}

#[test]
fn a_message_has_the_documented_form() {
    let message = MessageId::new();
    let events =
        [start(message), thought("Let me ", 0), thought("see.", 0), text("Yes", 1), complete(FinishReason::Stop)];
    let told = told(&Journal::of(message, &events), settings(50, 0), 0);
    let of = |kind, text| json!({"type":kind,"text":text,"partial":true,"task_id":"task_1","timestamp":1_641_234_567.123,"message_id":message});
    let mut end = of("completion", "Yes");
    end["reasoning"] = "Let me see.".into();
    end["partial"] = false.into();
    end["finish_reason"] = "stop".into();
    let expected = [(Some(3), of("reasoning", "Let me see.")), (Some(4), of("text", "Yes")), (Some(5), end)];
    assert_eq!(told, expected);
}

#[test]
fn a_message_names_its_event_where_the_transport_does_not() {
    let message = MessageId::new();
    let mut progress = progress(Settings { enveloped: true, ..settings(1, 0) });
    let out = Journal::of(message, &[text("a", 0)]).feed(&mut progress, 0, &mut || false);
    let payload = out.iter().next().expect("a message");
    let value: Value = serde_json::from_slice(payload.data).expect("JSON");
    assert_eq!((payload.name, &value["event"], &value["message"]["text"]), (None, &json!("ai_progress"), &json!("a")));
}

#[test]
fn a_piece_goes_out_when_it_is_long_enough_or_when_its_time_is_over() {
    let message = MessageId::new();
    let mut progress = progress(settings(5, 0));
    let events = [text("ab", 0), text("cdé", 0), text("f", 0)];
    let out = Journal::of(message, &events).feed(&mut progress, 0, &mut || true);
    assert_eq!(brief(&read(&out)), [(Some(2), "text", "abcdé")]);
    assert!(progress.is_holding());
    let mut rest = Payloads::default();
    progress.flush(&mut rest);
    assert_eq!(brief(&read(&rest)), [(Some(3), "text", "f")]);
    assert!(!progress.is_holding());
}

#[test]
fn calls_are_told_apart_and_name_their_tool_in_each_piece() {
    let message = MessageId::new();
    let events = [call("a", "{\"q\"", 0, false), call("b", "{}", 1, true), call("a", ":1}", 0, true), error()];
    let told = told(&Journal::of(message, &events), settings(50, 0), 0);
    let calls: Vec<_> = told[..3].iter().map(|(_, call)| (&call["id"], &call["name"], &call["text"])).collect();
    let (a, b, name) = (json!("a"), json!("b"), json!("search"));
    assert_eq!(calls, [(&a, &name, &json!("{\"q\"")), (&b, &name, &json!("{}")), (&a, &name, &json!(":1}"))]);
    let end = &told[3].1;
    assert_eq!((&end["type"], &end["partial"]), (&json!("completion"), &json!(false)));
    assert_eq!((&end["error"], &end["code"]), (&json!("The stream broke off."), &json!("provider_incomplete")));
}

#[test]
fn a_message_as_stored_replaces_and_one_that_was_told_does_not_come_again() {
    let message = MessageId::new();
    let fresh = told(&Journal::of(message, &[reset(message, "streaming"), text("!", 4)]), settings(1, 0), 0);
    let expected =
        [(None, "reasoning", "Hm.So"), (None, "tool_call", "{}"), (Some(1), "text", "Yes"), (Some(2), "text", "!")];
    assert_eq!(brief(&fresh), expected);
    assert!(fresh[..3].iter().all(|(_, message)| message["replace"] == true) && fresh[3].1["replace"].is_null());
    let events = [thought("Hm.So", 0), call("a", "{}", 1, true), text("Yes", 2), reset(message, "error"), error()];
    let known = told(&Journal::of(message, &events), settings(1, 0), 0);
    assert_eq!(brief(&known).iter().filter(|(_, kind, _)| *kind == "text").count(), 1);
    assert_eq!(known.last().expect("an end").1["text"], "Yes");
}

/// What a reader knows in the end of each message: the pieces of each kind put together, and the whole texts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Known {
    reasoning: String,
    text: String,
    calls: String,
    whole: Option<(String, String)>,
}

fn known(told: &[(Option<u64>, Value)]) -> HashMap<String, Known> {
    let mut all: HashMap<String, Known> = HashMap::new();
    for (_, message) in told {
        let known = all.entry(message["message_id"].as_str().expect("an id").to_owned()).or_default();
        let text = message["text"].as_str().expect("a text");
        match message["type"].as_str().expect("a type") {
            "reasoning" => known.reasoning.push_str(text),
            "text" => known.text.push_str(text),
            "tool_call" => known.calls.push_str(text),
            _ => known.whole = Some((message["reasoning"].as_str().expect("a text").to_owned(), text.to_owned())),
        }
    }
    all
}

fn made(journal: &Journal) -> HashMap<String, Known> {
    let mut all: HashMap<String, Known> = HashMap::new();
    for (message, frames) in &journal.runs {
        let known = all.entry(message.to_string()).or_default();
        for frame in frame::frames(frames) {
            match frame.event().expect("an event") {
                Event::Reasoning(delta) => known.reasoning.push_str(&delta.content),
                Event::Text(delta) | Event::Refusal(delta) => known.text.push_str(&delta.content),
                Event::ToolCall(call) => known.calls.push_str(&call.arguments),
                end if end.is_terminal() => known.whole = Some((known.reasoning.clone(), known.text.clone())),
                _ => {}
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn nothing_is_lost_or_told_twice(
        journal in journals(),
        join_chars in 1..30usize,
        joins in proptest::collection::vec(any::<bool>(), 1..64),
    ) {
        let mut joins = joins.iter().cycle().copied();
        let out = journal.feed(&mut progress(settings(join_chars, 0)), 0, &mut || joins.next().unwrap_or(false));
        let told_cut = read(&out);
        prop_assert_eq!(&told_cut, &told(&journal, settings(join_chars, 0), 0));
        prop_assert_eq!(known(&told_cut), made(&journal));
        let numbers: Vec<u64> = told_cut.iter().filter_map(|(id, _)| *id).collect();
        prop_assert!(numbers.len() == told_cut.len() && numbers.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn whoever_comes_back_gets_the_rest_and_everything_whole(
        journal in journals(),
        join_chars in 1..30usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let all = told(&journal, settings(join_chars, 0), 0);
        let seen = &all[..cut.index(all.len() + 1)];
        let at = seen.last().and_then(|(id, _)| *id).unwrap_or(0);
        let (from, _) = early(&journal, at);
        let mut both = seen.to_vec();
        both.extend(told(&journal, settings(join_chars, at), from));
        prop_assert_eq!(known(&both), made(&journal));
        prop_assert_eq!(both.iter().filter(|(_, message)| message["type"] == "completion").count(), made(&journal).len());
    }
}
