//! The client libraries that people have, unchanged, against a real server: OpenAI's for Python and for Node, and LangChain's
//! model on top of the former. What they gave their user is what is compared.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::chat::{Chat, usage};
use crate::support::gateway::{Gateway, Setup};
use crate::support::node::{self, Node};
use crate::support::python::{self, Venv};
use crate::support::steps::{Gate, Step, answer};
use crate::support::upstream::{Call, Upstream};
use crate::support::{new_id, within};

/// How long a program may take. The libraries are large: on a busy machine it takes them many seconds to begin.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(120);

/// A library in its program.
#[derive(Clone, Copy)]
enum Client {
    Python(&'static Venv),
    Node(&'static Node),
    LangChain(&'static Venv),
}

impl Client {
    /// OpenAI's own that can be had here. Each skips with a word otherwise.
    async fn openai() -> Vec<Client> {
        let python = python::venv().await.map(Client::Python);
        let node = node::node().await.map(Client::Node);
        python.into_iter().chain(node).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Client::Python(_) => "python",
            Client::Node(_) => "node",
            Client::LangChain(_) => "langchain",
        }
    }

    fn command(self, gateway: &Gateway, case: &str, model: &str, extra: &Value) -> Command {
        let mut command = match self {
            Client::Python(venv) => venv.program("openai/python_sdk.py"),
            Client::Node(node) => node.program("node_sdk.mjs"),
            Client::LangChain(venv) => venv.program("openai/langchain_chat.py"),
        };
        command.arg(case).arg(format!("http://{}/v1", gateway.address())).arg(model);
        if !extra.is_null() {
            command.arg(extra.to_string());
        }
        // Nothing of the machine's own set-up changes where they go, or sends anything elsewhere.
        command.env("NO_PROXY", "127.0.0.1").env("LANGSMITH_TRACING", "false");
        for name in ["OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// Plays a case to its end.
    async fn run(self, gateway: &Gateway, case: &str, model: &str, extra: &Value) -> Value {
        let mut command = self.command(gateway, case, model, extra);
        let output = tokio::time::timeout(PROGRAM_PATIENCE, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{} {case}: no end", self.name())).expect("the program starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{} {case}: {}\n{out}{err}", self.name(), output.status);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{} {case}: {error}: {out}{err}", self.name()))
    }
}

/// Without attempts of the gateway's own, so that those of the libraries can be counted.
fn once() -> Setup {
    Setup::new().toml("[retry]\nattempts = 1")
}

fn counted() -> Value {
    json!({
        "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
        "completion_tokens_details": {"reasoning_tokens": 3},
    })
}

/// Two calls in the first turn; what the tools said, in the second.
fn weather(call: &Call) -> Vec<Step> {
    let results: Vec<String> =
        call.messages().into_iter().filter(|(role, _)| role == "tool").map(|(_, text)| text).collect();
    if results.is_empty() {
        let chat = Chat::new().reasoning("Two cities.").tool(0, "call_1", "get_weather", "{\"city\"");
        let chat = chat.tool_more(0, ":\"Oslo\"}").tool(1, "call_2", "get_weather", "{\"city\":\"Rome\"}");
        return chat.finish("tool_calls").usage(&usage(11, 7, 3)).done();
    }
    Chat::answering("They said it.", &results.join(" "))
}

#[tokio::test]
async fn an_answer_is_read_as_a_stream_and_whole() {
    let upstream = Upstream::start().await;
    // Quiet for long enough that comments come in between.
    let gateway = Gateway::with(&upstream, Setup::new().toml("[stream]\nheartbeat_ms = 100")).await;
    let chat = Chat::new().reasoning("Two and \"two\"\nare").pause(Duration::from_millis(400));
    upstream.script("m", chat.text("four: 4 ").text("\u{1f600}").finish("stop").usage(&usage(11, 7, 3)).done());
    for client in Client::openai().await {
        let streamed = client.run(&gateway, "stream", "up/m", &Value::Null).await;
        let expected = json!({
            "reasoning": "Two and \"two\"\nare", "content": "four: 4 \u{1f600}", "ids": 1, "models": ["up/m"],
            "roles": ["assistant"], "finish": ["stop"], "usage": [counted()],
        });
        assert_eq!(streamed, expected, "{}", client.name());
        let mut whole = client.run(&gateway, "document", "up/m", &Value::Null).await;
        for id in ["request_id", "conversation"] {
            assert!(whole[id].take().as_str().is_some_and(|id| id.len() == 36), "{}: {id}", client.name());
        }
        let expected = json!({
            "object": "chat.completion", "model": "up/m", "reasoning": "Two and \"two\"\nare",
            "content": "four: 4 \u{1f600}", "finish": "stop", "usage": counted(), "request_id": null, "conversation": null,
        });
        assert_eq!(whole, expected, "{}", client.name());
    }
}

#[tokio::test]
async fn tools_are_called_over_two_turns() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for client in Client::openai().await {
        let model = client.name();
        upstream.script_fn(model, weather);
        let seen = client.run(&gateway, "tools", &format!("up/{model}"), &Value::Null).await;
        let expected = json!({
            "finish": ["tool_calls", "stop"],
            "calls": [["get_weather", {"city": "Oslo"}], ["get_weather", {"city": "Rome"}]],
            "content": "Rain in Oslo. Rain in Rome.",
        });
        assert_eq!(seen, expected, "{model}");
        let calls = upstream.calls_of(model);
        let [first, second] = &calls[..] else { panic!("{model}: {} calls", calls.len()) };
        assert_eq!(first.body["tools"][0]["function"]["name"], "get_weather", "{model}");
        let history = &second.body["messages"];
        let called = history[1]["tool_calls"][0].clone();
        let expected = json!({"id": "call_1", "type": "function", "function": {
            "name": "get_weather", "arguments": "{\"city\":\"Oslo\"}",
        }});
        assert_eq!(called, expected, "{model}");
        assert_eq!(history[3]["tool_call_id"], "call_2", "{model}");
    }
}

#[tokio::test]
async fn faults_are_raised_as_what_they_are() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&upstream, once()).await;
    let failing = |status| answer(status, &[("content-type", "application/json")], r#"{"error":{"message":"No."}}"#);
    let slowly = [("content-type", "application/json"), ("retry-after", "1")];
    for client in Client::openai().await {
        let name = client.name();
        let of = |fault: &str| format!("{name}-{fault}");
        upstream.script(of("refused"), failing(401));
        upstream.script(of("failing"), failing(500));
        upstream.script(of("slow"), answer(429, &slowly, r#"{"error":{"message":"Slow down."}}"#));
        upstream.script(of("broken"), Chat::new().text("Half").step(Step::Close).steps());
        // The model, more of the request, what is raised, how often the provider is asked.
        let rows = [
            ("nobody/m", json!({}), ("NotFoundError", json!(404), "unknown_model", "invalid_request_error"), 0),
            ("up/m", json!({"n": 2}), ("BadRequestError", json!(400), "invalid_request", "invalid_request_error"), 0),
            (
                "up/m",
                json!({"reasoning_effort": "xhigh"}),
                ("BadRequestError", json!(400), "invalid_request", "invalid_request_error"),
                0,
            ),
            ("refused", json!({}), ("InternalServerError", json!(502), "provider_auth", "server_error"), 1),
            ("failing", json!({}), ("InternalServerError", json!(502), "provider_error", "server_error"), 3),
            ("slow", json!({}), ("RateLimitError", json!(429), "provider_rate_limited", "rate_limit_error"), 3),
            ("broken", json!({}), ("APIError", Value::Null, "provider_incomplete", "server_error"), 1),
        ];
        let model = |model: &str| if model.contains('/') { model.to_owned() } else { format!("up/{}", of(model)) };
        let requests: Vec<Value> = rows
            .iter()
            .map(|(name, more, ..)| {
                let mut request = more.clone();
                request["model"] = model(name).into();
                request
            })
            .collect();
        let seen = client.run(&gateway, "errors", "up/m", &json!({"requests": requests})).await;
        let seen = seen["errors"].as_array().expect("a list");
        assert_eq!(seen.len(), rows.len());
        for ((model, _, (kind, status, code, class), asked), seen) in rows.iter().zip(seen) {
            let expected = json!([kind, status, code, class]);
            assert_eq!(json!([seen["kind"], seen["status"], seen["code"], seen["type"]]), expected, "{name}: {seen}");
            assert!(seen["message"].as_str().is_some_and(|text| text.len() > 5), "{name}: {seen}");
            assert_eq!(seen["content"], if *kind == "APIError" { "Half" } else { "" }, "{name}: {seen}");
            assert_eq!(upstream.calls_of(&of(model)).len(), *asked, "{name}: how often {model} was asked");
        }
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_provider() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for client in Client::openai().await {
        let model = client.name();
        upstream.script(model, Chat::new().reasoning("Hm.").text("Half").step(Step::Hang).steps());
        let mut command = client.command(&gateway, "abort", &format!("up/{model}"), &Value::Null);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = tokio::time::timeout(PROGRAM_PATIENCE, lines.next_line()).await.expect("the first words");
        let line = line.expect("it can be read").expect("a line");
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), json!({"content": "Half"}), "{model}");
        // The program lives on, so that it is not its end which the gateway notices.
        upstream.call(model).await.closed().await;
        assert!(child.try_wait().expect("it can be asked").is_none(), "{model} still runs");
        drop(child.stdin.take());
        let status = within("the program ends", child.wait()).await.expect("it can be waited for");
        assert!(status.success(), "{model}: {status}");
    }
}

#[tokio::test]
async fn models_are_listed_and_found_by_ids_with_slashes() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().toml("[aliases]\nbest = \"up/org/m\"");
    let gateway = Gateway::with(&upstream, setup).await;
    for client in Client::openai().await {
        let seen = client.run(&gateway, "models", "up/org/m", &Value::Null).await;
        let ids = seen["ids"].as_array().expect("a list");
        assert!(ids.contains(&json!("demo/thinker")) && ids.contains(&json!("best")), "{seen}");
        assert_eq!(
            (&seen["id"], &seen["object"], &seen["owned_by"]),
            (&json!("up/org/m"), &json!("model"), &json!("up"))
        );
    }
}

#[tokio::test]
async fn a_conversation_is_kept_where_the_metadata_name_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for client in Client::openai().await {
        let (model, id) = (client.name(), new_id());
        upstream.script_fn(model, |call| Chat::answering("", &format!("{} messages", call.messages().len())));
        let extra = json!({"metadata": {"conversation_id": id, "topic": "names"}});
        let seen = client.run(&gateway, "conversation", &format!("up/{model}"), &extra).await;
        assert_eq!(seen["contents"], json!(["1 messages", "3 messages"]), "{model}");
        let stored = gateway.messages(&id).await;
        assert_eq!(stored.len(), 4, "{model}: {stored:#?}");
        assert_eq!(stored[1]["metadata"], json!({"topic": "names"}), "{model}");
        let seen = client.run(&gateway, "conversation", &format!("up/{model}"), &Value::Null).await;
        assert_eq!(seen["contents"], json!(["1 messages", "1 messages"]), "{model}: each by itself");
    }
}

#[tokio::test]
async fn the_end_of_the_process_does_not_disturb_a_stream() {
    for client in Client::openai().await {
        let upstream = Upstream::start().await;
        let gateway = Gateway::start(&upstream).await;
        let gate = Gate::new();
        upstream.script("m", Chat::new().text("Half").gate(&gate).text(" and all.").finish("stop").done());
        let running = client.run(&gateway, "stream", "up/m", &Value::Null);
        let draining = async {
            // Until the program has begun, which it does or fails.
            while upstream.calls_of("m").is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let mut other = gateway.stream("m").await;
            other.until_content("text", "Half").await;
            gateway.signal("TERM").await;
            other.retry().await;
            gate.open();
        };
        let (seen, ()) = tokio::join!(running, draining);
        assert_eq!(
            (&seen["content"], &seen["finish"]),
            (&json!("Half and all."), &json!(["stop"])),
            "{}",
            client.name()
        );
    }
}

#[tokio::test]
async fn langchain_streams_answers_and_calls_tools() {
    let Some(venv) = python::venv().await else { return };
    let (client, upstream) = (Client::LangChain(venv), Upstream::start().await);
    let gateway = Gateway::with(&upstream, once()).await;
    upstream.script("m", Chat::answering("Two and two are", "four: 4"));
    upstream.script_fn("tools", weather);
    upstream.script("slow", answer(429, &[("content-type", "application/json")], r#"{"error":{"message":"No."}}"#));
    let (streamed, whole, called, failed) = tokio::join!(
        client.run(&gateway, "stream", "up/m", &Value::Null),
        client.run(&gateway, "document", "up/m", &Value::Null),
        client.run(&gateway, "tools", "up/tools", &Value::Null),
        client.run(&gateway, "error", "up/slow", &Value::Null),
    );
    let expected =
        json!({"content": "four: 4", "finish": "stop", "model": "up/m", "tokens": [11, 7, 18], "reasoning_tokens": 3});
    assert_eq!(streamed, expected);
    assert_eq!(whole, json!({"content": "four: 4", "finish": "stop", "tokens": 18}));
    let expected = json!({
        "calls": [["get_weather", {"city": "Oslo"}], ["get_weather", {"city": "Rome"}]],
        "content": "Rain in Oslo. Rain in Rome.",
    });
    assert_eq!(called, expected);
    assert!(failed["kinds"].as_array().is_some_and(|kinds| kinds.contains(&json!("RateLimitError"))), "{failed}");
    assert_eq!((&failed["status"], &failed["code"]), (&json!(429), &json!("provider_rate_limited")));
}
