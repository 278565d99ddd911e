//! Progress events, over `/ws/progress` and with `?dialect=ai_progress`.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::chat::Chat;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::python;
use crate::support::steps::Gate;
use crate::support::upstream::Upstream;
use crate::support::within;
use crate::support::ws::Socket;

/// The events of a response, as an `EventSource` would hand them out: number, name and data.
fn events(body: &str) -> Vec<(u64, String, Value)> {
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
    };
    let told = body.split("\n\n").filter(|event| event.contains("data: ")).map(|event| {
        let id = field(event, "id").and_then(|id| id.parse().ok()).expect("a number");
        let data = serde_json::from_str(&field(event, "data").expect("data")).expect("JSON");
        (id, field(event, "event").expect("a name"), data)
    });
    told.collect()
}

fn joined(events: &[(u64, String, Value)], kind: &str) -> String {
    let of_kind = events.iter().filter(|(_, _, message)| message["type"] == kind);
    of_kind.map(|(_, _, message)| message["text"].as_str().expect("a text")).collect()
}

#[tokio::test]
async fn listeners_by_the_contract_are_told_their_task_or_all() {
    let Some(venv) = python::venv().await else { return };
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream
        .script("m", Chat::answering("Let me see, this is not hard.", "It is forty-two, as everybody knows by now."));
    upstream.script("bad", Chat::new().text("Not all").end());
    let mut listeners = Vec::new();
    for (path, count) in [("/ws/progress", "2"), ("/ws/progress?task_id=build", "1")] {
        let mut command = venv.program("progress_listener.py");
        let url = format!("ws://{}{path}", gateway.address());
        let mut child = command.args([&url, count]).stdout(Stdio::piped()).spawn().expect("Python runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = within("the listener is there", lines.next_line()).await.expect("readable");
        assert_eq!(line.as_deref(), Some("listening"));
        listeners.push((child, lines));
    }
    let named = gateway.generate_json(&json!({"model": "up/m", "prompt": "?", "taskId": "build"})).await;
    let failed = gateway.generate(&json!({"model": "up/bad", "prompt": "?"})).await;
    let usual = format!("task_{}", failed.headers.expect("x-conversation-id"));
    drop(failed);
    for (place, (mut child, mut lines)) in listeners.into_iter().enumerate() {
        let line = within("the listener is done", lines.next_line()).await.expect("readable").expect("a line");
        assert!(within("the listener ends", child.wait()).await.expect("it ran").success());
        let held: Value = serde_json::from_str(&line).expect("JSON");
        let build = &held["build"];
        assert_eq!((&build["text"], &build["end"]["text"]), (&named["content"], &named["content"]), "{held}");
        assert_eq!((&build["reasoning"], &build["end"]["reasoning"]), (&named["reasoning"], &named["reasoning"]));
        assert!(build["end"]["error"].is_null());
        assert_eq!(held[&usual].is_null(), place == 1, "{held}");
        if place == 0 {
            assert_eq!((&held[&usual]["text"], &held[&usual]["end"]["text"]), (&json!("Not all"), &json!("Not all")));
            assert_eq!(held[&usual]["end"]["code"], "provider_incomplete");
            assert!(held[&usual]["end"]["error"].is_string());
        }
    }
}

#[tokio::test]
async fn a_stream_joins_small_pieces_and_comes_back_without_losing_the_whole() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().toml("[stream]\nprogress_join_chars = 10\nprogress_join_ms = 10000");
    let gateway = Gateway::with(&upstream, setup).await;
    let text = "One two three four five six seven.";
    let spelled = text.split("").filter(|c| !c.is_empty()).fold(Chat::new().reasoning("Count."), Chat::text);
    upstream.script("m", spelled.finish("stop").done());
    let body = json!({"model": "up/m", "prompt": "?", "stream": true, "taskId": "t"});
    let request = Request::post("/api/generate?dialect=ai_progress", &body);
    let response = gateway.send(&request).await.expect(200);
    let told = events(&response.text());
    assert!(told.iter().all(|(_, name, message)| name == "ai_progress" && message["task_id"] == "t"), "{told:?}");
    assert_eq!((joined(&told, "reasoning").as_str(), joined(&told, "text").as_str()), ("Count.", text));
    assert_eq!(told.len(), 1 + 4 + 1, "{told:?}");
    let (last, _, end) = told.last().expect("an end");
    assert_eq!((&end["text"], &end["reasoning"], &end["partial"]), (&json!(text), &json!("Count."), &json!(false)));
    gateway.stored().await;
    let path = format!("/api/generations/{}/events?dialect=ai_progress", response.headers.expect("x-generation-id"));
    for (seen, (id, _, _)) in told[..told.len() - 1].iter().enumerate() {
        let resumed = gateway.send(&Request::get(&path).header("last-event-id", id)).await.expect(200);
        let rest = events(&resumed.text());
        let both: String = [joined(&told[..=seen], "text"), joined(&rest, "text")].concat();
        assert_eq!(both, text);
        let end = &rest.last().expect("an end").2;
        assert_eq!((&end["text"], &end["reasoning"], &end["task_id"]), (&json!(text), &json!("Count."), &json!("t")));
    }
    gateway.send(&Request::get(&path).header("last-event-id", last)).await.expect(204);
}

#[tokio::test]
async fn what_is_held_goes_out_in_time_and_late_listeners_are_told_from_the_beginning() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let gate = Gate::new();
    upstream.script("m", Chat::new().text("Wait").gate(&gate).text(" no more").finish("stop").done());
    let mut early = Socket::open(gateway.address(), "/ws/progress?task_id=later").await;
    let reader = gateway.generate(&json!({"model": "up/m", "prompt": "?", "taskId": "later"})).await;
    let told = early.get().await;
    assert_eq!((&told["event"], &told["message"]["text"]), (&json!("ai_progress"), &json!("Wait")));
    let mut late = Socket::open(gateway.address(), "/ws/progress").await;
    assert_eq!(late.get().await["message"]["text"], "Wait");
    assert_eq!(late.ask(&json!({"type": "ping"})).await, json!({"type": "pong"}));
    let refused = late.ask(&json!({"type": "chat"})).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("invalid_request")));
    gate.open();
    for socket in [&mut early, &mut late] {
        assert_eq!(socket.get().await["message"]["text"], " no more");
        let end = socket.get().await["message"].clone();
        assert_eq!((&end["type"], &end["text"]), (&json!("completion"), &json!("Wait no more")));
    }
    drop(reader);
}
