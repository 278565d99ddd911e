//! Agent steps over `/ws/chat/{session_id}`: what a session is told, and that it may come back.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::support::chat::Chat;
use crate::support::gateway::{Gateway, Setup, list};
use crate::support::http::Request;
use crate::support::python;
use crate::support::steps::Gate;
use crate::support::upstream::Upstream;
use crate::support::within;
use crate::support::ws::Socket;

/// A gateway whose default model, and whose agent `helper`, ask the provider.
async fn gateway(upstream: &Upstream) -> Gateway {
    let toml = "[default]\nmodel = \"up/plain\"\n[agents.helper]\nmodel = \"up/help\"\nsystem = \"Be brief.\"";
    Gateway::with(upstream, Setup::new().toml(toml)).await
}

fn chat(message: &str, agent: Option<&str>) -> Value {
    let mut payload = json!({"message": message, "enable_reasoning": true});
    if let Some(agent) = agent {
        payload["agent_name"] = json!(agent);
    }
    json!({"type": "chat", "payload": payload})
}

/// Type and content of each step.
fn brief(steps: &[Value]) -> Vec<(&str, &str)> {
    steps
        .iter()
        .map(|step| {
            let data = &step["data"];
            (data["type"].as_str().expect("a type"), data["content"].as_str().expect("content"))
        })
        .collect()
}

/// The next steps until the turn is over.
async fn turn(socket: &mut Socket) -> Vec<Value> {
    let mut steps = Vec::new();
    loop {
        let step = socket.until("reasoning_step").await;
        let data = &step["data"];
        let is_over = matches!(data["type"].as_str(), Some("final_answer" | "error")) && data["partial"] != true;
        steps.push(step);
        if is_over {
            return steps;
        }
    }
}

#[tokio::test]
async fn a_client_by_the_contract_is_told_each_step_once_over_a_cut() {
    let Some(venv) = python::venv().await else { return };
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let script = Chat::new()
        .reasoning("Look it ")
        .reasoning("up.")
        .tool(0, "call_1", "search", "{\"q\":")
        .tool_more(0, "1}")
        .text("So: ")
        .text("42")
        .finish("stop")
        .done();
    upstream.script("help", script);
    for (path, whole) in [("/ws/chat/s%C3%A9ance%201", true), ("/ws/chat/parts?stream=tokens", false)] {
        let url = format!("ws://{}{path}", gateway.address());
        let mut client = venv.program("steps_client.py");
        let output = within("the client is done", client.args([&url, "What is it?", "helper"]).output()).await;
        let output = output.expect("Python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(told["verdict"], "exact", "{told}");
        let steps = told["steps"].as_array().expect("steps");
        assert!(
            steps.iter().all(|step| step["data"]["iteration"] == 1 && step["data"]["timestamp"].is_f64()),
            "{told}"
        );
        let all = brief(steps);
        let of = |kind: &str| all.iter().filter(|(known, _)| *known == kind).map(|(_, text)| *text).collect::<String>();
        assert_eq!((of("thought").as_str(), of("final_answer").as_str()), ("Look it up.", "So: 42"));
        let kinds: Vec<&str> = all.iter().map(|(kind, _)| *kind).collect();
        if whole {
            assert_eq!(kinds, ["thought", "tool_use", "final_answer"]);
            assert_eq!(all[1].1, "search({\"q\":1})");
            assert_eq!(steps[2]["data"]["finish_reason"], "tool_calls");
        } else {
            assert_eq!(of("tool_use"), "{\"q\":1}");
            assert!(steps.iter().all(|step| step["data"]["step_id"].is_string()), "{told}");
        }
    }
    let call = upstream.call("help").await;
    let expected = [("system", "Be brief."), ("user", "What is it?")];
    assert_eq!(call.messages(), expected.map(|(role, text)| (role.to_owned(), text.to_owned())));
    let listed = gateway.get("/api/conversations").await.expect(200).json();
    let mut names: Vec<Value> =
        list(&listed, "conversations").iter().map(|conversation| conversation["externalId"].clone()).collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(names, [json!("parts"), json!("séance 1")]);
}

#[tokio::test]
async fn a_session_goes_on_after_a_restart_and_counts_its_turns() {
    let upstream = Upstream::start().await;
    let mut gateway = gateway(&upstream).await;
    upstream.script("plain", Chat::answering("Hm.", "One."));
    let mut socket = Socket::open(gateway.address(), "/ws/chat/s").await;
    socket.send(&chat("first", None)).await;
    let first = turn(&mut socket).await;
    assert_eq!(brief(&first), [("thought", "Hm."), ("final_answer", "One.")]);
    gateway.stored().await;
    gateway.kill_and_restart().await;
    let last = first[0]["sync_id"].as_u64().expect("a number");
    let mut socket = Socket::open(gateway.address(), &format!("/ws/chat/s?last_sync_id={last}")).await;
    assert_eq!(socket.get().await, json!({"type": "resumed", "verdict": "exact", "last_sync_id": last}));
    let again = turn(&mut socket).await;
    assert_eq!((brief(&again), &again[0]["sync_id"]), (vec![("final_answer", "One.")], &first[1]["sync_id"]));
    socket.send(&chat("second", None)).await;
    let second = turn(&mut socket).await;
    assert_eq!(brief(&second), [("thought", "Hm."), ("final_answer", "One.")]);
    assert!(second.iter().all(|step| step["data"]["iteration"] == 2), "{second:?}");
    let call = upstream.calls_of("plain").pop().expect("a second call");
    let said: Vec<String> = call.messages().into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["first", "One.", "second"], "the conversation is the history");
    let mut ahead = Socket::open(gateway.address(), "/ws/chat/s?last_sync_id=999999999").await;
    assert_eq!(ahead.get().await["verdict"], "unknown");
    for (known, iteration) in [(&first, 1), (&second, 2)] {
        let told = turn(&mut ahead).await;
        assert_eq!(brief(&told), brief(known), "everything from the beginning");
        assert!(told.iter().all(|step| step["data"]["iteration"] == iteration), "{told:?}");
        let numbers = |steps: &[Value]| steps.iter().map(|step| step["sync_id"].clone()).collect::<Vec<_>>();
        assert_eq!(numbers(&told), numbers(known));
    }
}

#[tokio::test]
async fn two_questions_at_once_interleave_in_one_conversation() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let gate = Gate::new();
    upstream.script("plain", Chat::new().reasoning("Slow").gate(&gate).text("slow").finish("stop").done());
    upstream.script("help", Chat::answering("Quick", "quick"));
    let mut one = Socket::open(gateway.address(), "/ws/chat/both").await;
    let mut other = Socket::open(gateway.address(), "/ws/chat/both").await;
    one.send(&chat("a", None)).await;
    other.send(&chat("b", None)).await;
    upstream.call("plain").await;
    one.send(&chat("c", Some("helper"))).await;
    upstream.call("help").await.played().await;
    gate.open();
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(turn(&mut one).await.pop().expect("an end"));
    }
    let mut said: Vec<&str> = answers.iter().filter_map(|step| step["data"]["content"].as_str()).collect();
    said.sort_unstable();
    assert_eq!(said, ["quick", "slow", "slow"]);
    let mut iterations: Vec<u64> = answers.iter().filter_map(|step| step["data"]["iteration"].as_u64()).collect();
    iterations.sort_unstable();
    assert_eq!(iterations, [1, 2, 3]);
    let listed = gateway.get("/api/conversations").await.expect(200).json();
    assert_eq!(list(&listed, "conversations").len(), 1, "{listed}");
}

#[tokio::test]
async fn each_mistake_is_named_and_the_socket_stays_open() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    upstream.script("plain", Chat::answering("", "Still here."));
    let mut socket = Socket::open(gateway.address(), "/ws/chat/s").await;
    let rows = [
        (json!({"type": "dance"}), "dance"),
        (json!({}), "type"),
        (json!([]), "cannot be read"),
        (json!({"type": "chat"}), "payload"),
        (json!({"type": "chat", "payload": {"message": 7}}), "payload"),
        (json!({"type": "chat", "payload": {"message": " "}}), "payload.message is empty"),
        (chat("x", Some("nobody")), "nobody"),
    ];
    for (message, word) in rows {
        let told = socket.ask(&message).await;
        assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!("invalid_request")), "{message}: {told}");
        assert!(told["message"].as_str().is_some_and(|text| text.contains(word)), "{message}: {told}");
    }
    for frame in [Frame::text("{"), Frame::binary(vec![1, 2])] {
        socket.send_frame(frame).await.expect("open");
        assert_eq!(socket.get().await["type"], "error");
    }
    assert_eq!(socket.ask(&json!({"type": "ping"})).await, json!({"type": "pong"}));
    socket.send(&chat("x", None)).await;
    assert_eq!(brief(&turn(&mut socket).await).last(), Some(&("final_answer", "Still here.")));
    for path in [
        format!("/ws/chat/{}", "x".repeat(129)),
        "/ws/chat/s?last_sync_id=seven".to_owned(),
        "/ws/chat/s?stream=chunks".to_owned(),
    ] {
        let upgrade = Request::get(&path)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(gateway.send(&upgrade).await.expect(400).error_code(), "invalid_request", "{path}");
    }
}
