use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::testing::{BEGAN_MS, Journal, call, complete, early, error, journals, reset, start, text, thought};
use crate::event::{FinishReason, Role, ToolResult, UserMessage, frame};

const NOW_MS: u64 = BEGAN_MS + 5_000;

const WHOLE: Settings = Settings { tokens: false, after: SyncId::ZERO, turns: 0, past: SyncId::ZERO };
const TOKENS: Settings = Settings { tokens: true, ..WHOLE };

/// What a reader is told.
fn told_of(journal: &Journal, settings: Settings, from: u64, joins: &mut dyn FnMut() -> bool) -> Vec<Value> {
    let mut steps = Steps::new(settings);
    steps.set_now(NOW_MS);
    let out = journal.feed(&mut steps, from, joins);
    let read = out.iter().map(|payload| {
        let value: Value = serde_json::from_slice(payload.data).expect("JSON");
        assert_eq!(payload.id.map(SyncId::get), value["sync_id"].as_u64());
        value
    });
    read.collect()
}

fn told(settings: Settings, events: &[Event]) -> Vec<Value> {
    told_of(&Journal::of(MessageId::new(), events), settings, 0, &mut || false)
}

fn brief(steps: &[Value]) -> Vec<(Option<u64>, &str, &str)> {
    steps
        .iter()
        .map(|step| {
            let data = &step["data"];
            (
                step["sync_id"].as_u64(),
                data["type"].as_str().expect("a type"),
                data["content"].as_str().expect("content"),
            )
        })
        .collect()
}

#[test]
fn a_step_has_the_documented_form() {
    let message = MessageId::new();
    let steps = told(
        WHOLE,
        &[
            start(message),
            thought("Hm", 0),
            thought(".", 0),
            text("Yes", 1),
            text(".", 1),
            complete(FinishReason::Stop),
        ],
    );
    let seconds = NOW_MS as f64 / 1000.0;
    let expected = [
        json!({"type":"reasoning_step","sync_id":3,"data":{"type":"thought","content":"Hm.","iteration":1,"timestamp":seconds}}),
        json!({"type":"reasoning_step","sync_id":6,"data":{"type":"final_answer","content":"Yes.","iteration":1,"timestamp":seconds,"finish_reason":"stop"}}),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn tools_are_called_whole_and_their_results_follow() {
    let result = ToolResult { id: "b".into(), name: "search".into(), content: "3 found".into(), is_error: false };
    let events = [
        thought("Two calls.", 0),
        text("I look. ", 1),
        call("a", "{\"q\"", 2, false),
        call("b", "{}", 3, true),
        call("a", ":1}", 2, true),
        Event::ToolResult(result),
        thought("Found.", 4),
        text("Done", 5),
        complete(FinishReason::Stop),
    ];
    let steps = told(WHOLE, &events);
    let expected = [
        (Some(1), "thought", "Two calls."),
        (Some(4), "tool_use", "search({})"),
        (Some(5), "tool_use", "search({\"q\":1})"),
        (Some(6), "tool_result", "3 found"),
        (Some(7), "thought", "Found."),
        (Some(9), "final_answer", "I look. Done"),
    ];
    assert_eq!(brief(&steps), expected);
    let call = &steps[2]["data"];
    assert_eq!((&call["id"], &call["name"], &call["arguments"]), (&json!("a"), &json!("search"), &json!("{\"q\":1}")));
    assert_eq!((&steps[3]["data"]["id"], &steps[3]["data"]["is_error"]), (&json!("b"), &json!(false)));
}

#[test]
fn a_turn_that_fails_ends_with_its_error_and_keeps_what_was_said() {
    let steps = told(WHOLE, &[text("So f", 0), thought("cut", 1), error()]);
    assert_eq!(brief(&steps), [(Some(2), "thought", "cut"), (Some(3), "error", "The stream broke off.")]);
    let end = &steps[1]["data"];
    assert_eq!(
        (&end["code"], &end["retryable"], &end["text"]),
        (&json!("provider_incomplete"), &json!(true), &json!("So f"))
    );
}

#[test]
fn turns_are_counted_and_what_a_client_sent_is_no_step() {
    let mut journal = Journal::new();
    for _ in 0..2 {
        let message = MessageId::new();
        let asked = UserMessage { message_id: MessageId::new(), role: Role::User, content: "?".into() };
        journal.add(asked.message_id, &Event::Message(asked.clone()));
        journal.add(message, &start(message));
        journal.add(message, &complete(FinishReason::Length));
    }
    let steps = told_of(&journal, Settings { turns: 3, ..WHOLE }, 0, &mut || false);
    let iterations: Vec<u64> = steps.iter().filter_map(|step| step["data"]["iteration"].as_u64()).collect();
    assert_eq!(iterations, [4, 5]);
}

#[test]
fn what_was_there_before_the_reader_has_the_times_of_its_message() {
    let message = MessageId::new();
    let events = [start(message), thought("a", 0), complete(FinishReason::Stop)];
    let steps = told(Settings { past: SyncId::new(3), ..WHOLE }, &events);
    let times: Vec<f64> = steps.iter().filter_map(|step| step["data"]["timestamp"].as_f64()).collect();
    assert_eq!(times, [BEGAN_MS as f64 / 1000.0, (BEGAN_MS + 900) as f64 / 1000.0]);
}

#[test]
fn parts_come_as_they_arrive_and_are_closed() {
    let message = MessageId::new();
    let events = [
        thought("H", 0),
        thought("m", 0),
        call("a", "{", 1, false),
        call("a", "}", 1, true),
        text("Y", 2),
        complete(FinishReason::Stop),
    ];
    let steps = told_of(&Journal::of(message, &events), TOKENS, 0, &mut || false);
    let seen: Vec<_> = steps
        .iter()
        .map(|step| {
            let data = &step["data"];
            (
                step["sync_id"].as_u64(),
                data["step_id"].as_str().expect("an id"),
                data["content"].as_str().expect("content"),
                data["partial"].as_bool(),
            )
        })
        .collect();
    let id = |place| format!("{message}-{place}");
    let ids = [id(0), id(1), id(2)];
    let expected = [
        (Some(1), &*ids[0], "H", Some(true)),
        (Some(2), &*ids[0], "m", Some(true)),
        (None, &*ids[0], "", Some(false)),
        (Some(3), &*ids[1], "{", Some(true)),
        (Some(4), &*ids[1], "}", Some(false)),
        (Some(5), &*ids[2], "Y", Some(true)),
        (Some(6), &*ids[2], "", Some(false)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(steps[4]["data"]["arguments"], "{}");
}

#[test]
fn a_compacted_message_is_told_by_its_blocks() {
    let message = MessageId::new();
    let ended = told(WHOLE, &[reset(message, "complete"), complete(FinishReason::Stop)]);
    let expected = [
        (None, "thought", "Hm."),
        (None, "tool_use", "search({})"),
        (Some(1), "thought", "So"),
        (Some(2), "final_answer", "Yes"),
    ];
    assert_eq!(brief(&ended), expected);
    let going_on =
        told(WHOLE, &[reset(message, "streaming"), thought(" on", 3), text("!", 4), complete(FinishReason::Stop)]);
    let expected = [
        (None, "thought", "Hm."),
        (Some(1), "tool_use", "search({})"),
        (Some(2), "thought", "So on"),
        (Some(4), "final_answer", "Yes!"),
    ];
    assert_eq!(brief(&going_on), expected);
    let parts =
        told(TOKENS, &[reset(message, "streaming"), thought(" on", 3), text("!", 2), complete(FinishReason::Stop)]);
    assert_eq!(joined(&parts), joined(&going_on));
}

#[test]
fn a_reset_of_what_was_told_tells_nothing_again() {
    let message = MessageId::new();
    let events = [
        thought("Hm.", 0),
        call("a", "{}", 1, true),
        text("Yes", 2),
        thought("So", 3),
        reset(message, "error"),
        error(),
    ];
    for settings in [WHOLE, TOKENS] {
        let steps = told(settings, &events);
        let plain: Vec<Event> = events.iter().filter(|event| !matches!(event, Event::Reset(_))).cloned().collect();
        assert_eq!(joined(&steps), joined(&told(settings, &plain)));
    }
}

/// What a client knows in the end: the content of every step by turn and kind, in the order in which they begin.
fn joined(steps: &[Value]) -> Vec<(u64, String, String)> {
    let mut known: Vec<(String, (u64, String, String))> = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        let data = &step["data"];
        let id = data["step_id"].as_str().map_or_else(|| place.to_string(), str::to_owned);
        let kind = data["type"].as_str().expect("a type").to_owned();
        let piece = match (kind.as_str(), &data["partial"]) {
            // Parts of a call are its arguments.
            ("tool_use", Value::Null) => data["arguments"].as_str(),
            _ => data["content"].as_str(),
        };
        let piece = piece.expect("a text");
        match known.iter_mut().find(|(known, _)| *known == id) {
            Some((_, (_, _, content))) => content.push_str(piece),
            None => known.push((id, (data["iteration"].as_u64().expect("a number"), kind, piece.to_owned()))),
        }
    }
    let mut contents: Vec<_> = known.into_iter().map(|(_, content)| content).collect();
    contents.sort();
    contents
}

proptest! {
    #[test]
    fn any_cut_of_the_runs_tells_the_same(journal in journals(), joins in proptest::collection::vec(any::<bool>(), 1..64)) {
        for settings in [WHOLE, TOKENS] {
            let mut joins = joins.iter().cycle().copied();
            let steps = told_of(&journal, settings, 0, &mut || false);
            prop_assert_eq!(&told_of(&journal, settings, 0, &mut || joins.next().unwrap_or(false)), &steps);
            let numbers: Vec<u64> = steps.iter().filter_map(|step| step["sync_id"].as_u64()).collect();
            prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        }
    }

    #[test]
    fn parts_add_up_to_the_steps_and_reasoning_is_no_answer(journal in journals()) {
        let whole = told_of(&journal, WHOLE, 0, &mut || false);
        let parts = told_of(&journal, TOKENS, 0, &mut || false);
        // A message that fails has no last answer: its parts were told, and its error holds them.
        let answers = |steps: &[(u64, String, String)]| steps.iter().filter(|(_, kind, _)| kind == "final_answer").cloned().collect::<Vec<_>>();
        let others = |steps: &[(u64, String, String)]| steps.iter().filter(|(_, kind, _)| kind != "final_answer").cloned().collect::<Vec<_>>();
        let (joined_whole, joined_parts) = (joined(&whole), joined(&parts));
        prop_assert_eq!(others(&joined_whole), others(&joined_parts));
        let mut all_answers = answers(&joined_whole);
        for step in &whole {
            if let Some(text) = step["data"]["text"].as_str() {
                all_answers.push((step["data"]["iteration"].as_u64().unwrap_or(0), "final_answer".to_owned(), text.to_owned()));
            }
        }
        all_answers.sort();
        let mut parts_of_answers = answers(&joined_parts);
        parts_of_answers.retain(|(_, _, text)| !text.is_empty());
        all_answers.retain(|(_, _, text)| !text.is_empty());
        prop_assert_eq!(all_answers, parts_of_answers);
        // All that was thought is in thoughts, and all that was said in answers.
        let (mut thoughts, mut answer) = (0, 0);
        for (_, frames) in &journal.runs {
            for frame in frame::frames(frames) {
                match frame.event().expect("an event") {
                    Event::Reasoning(delta) => thoughts += delta.content.len(),
                    Event::Text(delta) | Event::Refusal(delta) => answer += delta.content.len(),
                    _ => {}
                }
            }
        }
        let bytes = |kind: &str| joined_parts.iter().filter(|(_, known, _)| known == kind).map(|(_, _, text)| text.len()).sum::<usize>();
        prop_assert_eq!((bytes("thought"), bytes("final_answer")), (thoughts, answer));
    }

    #[test]
    fn whoever_comes_back_gets_exactly_the_rest(journal in journals(), cut in any::<prop::sample::Index>()) {
        for settings in [WHOLE, TOKENS] {
            let all = told_of(&journal, settings, 0, &mut || false);
            let seen = cut.index(all.len() + 1);
            let at = all[..seen].iter().rev().find_map(|step| step["sync_id"].as_u64()).unwrap_or(0);
            let (from, turns) = early(&journal, at);
            let rest = told_of(&journal, Settings { after: SyncId::new(at), turns, ..settings }, from, &mut || false);
            // What had no number yet comes again: only parts that close a step, without content.
            let again = all[..seen].iter().rev().take_while(|step| step["sync_id"].is_null()).count();
            prop_assert!(all[seen - again..seen].iter().all(|step| step["data"]["content"] == ""));
            prop_assert_eq!(&rest, &all[seen - again..]);
        }
    }
}
