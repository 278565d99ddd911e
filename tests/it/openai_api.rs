//! OpenAI's API at `/v1`, byte by byte: what goes out, what is refused and how, and what a hang-up does.

use serde_json::{Value, json};

use crate::support::chat::Chat;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Ended, Exchange, Request};
use crate::support::steps::{Gate, Step};
use crate::support::upstream::Upstream;
use crate::support::within;

const PATH: &str = "/v1/chat/completions";

fn ask(model: &str, more: &Value) -> Request {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Go on."}]});
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    Request::post(PATH, &body)
}

fn streamed(model: &str) -> Request {
    ask(model, &json!({"stream": true}))
}

/// A stream of chunks, as it comes.
struct Chunks {
    exchange: Exchange,
    text: String,
}

impl Chunks {
    async fn open(gateway: &Gateway, request: &Request) -> Self {
        let sent = within("a head", request.send(gateway.address())).await;
        let exchange = sent.unwrap_or_else(|ended| panic!("no response: {ended:?}"));
        assert_eq!(exchange.status, 200);
        Chunks { exchange, text: String::new() }
    }

    async fn until(&mut self, what: &str) {
        while !self.text.contains(what) {
            let data =
                within(what, self.exchange.data()).await.unwrap_or_else(|ended| panic!("{ended:?}: {}", self.text));
            self.text.push_str(std::str::from_utf8(&data).expect("UTF-8"));
        }
    }

    /// All payloads. Every line is a payload or nothing: no ids, no names, no word about coming back.
    async fn finish(mut self) -> Vec<String> {
        loop {
            match within("the end", self.exchange.data()).await {
                Ok(data) => self.text.push_str(std::str::from_utf8(&data).expect("UTF-8")),
                Err(Ended::Clean) => break,
                Err(other) => panic!("{other:?}: {}", self.text),
            }
        }
        let blocks = self.text.strip_suffix("\n\n").expect("whole blocks").split("\n\n");
        blocks
            .map(|block| {
                block.strip_prefix("data: ").unwrap_or_else(|| panic!("{block:?} in {}", self.text)).to_owned()
            })
            .collect()
    }
}

#[tokio::test]
async fn a_stream_is_payloads_and_done() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("Hm.", "Yes."));
    let chunks = Chunks::open(&gateway, &streamed("up/m")).await;
    for (name, value) in [("content-type", "text/event-stream"), ("x-accel-buffering", "no")] {
        assert_eq!(chunks.exchange.headers.get(name), Some(value));
    }
    let generation = chunks.exchange.headers.expect("x-generation-id").to_owned();
    let conversation = chunks.exchange.headers.expect("x-conversation-id").to_owned();
    chunks.exchange.headers.expect("x-request-id");
    let payloads = chunks.finish().await;
    assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"));
    let first: Value = serde_json::from_str(&payloads[0]).expect("JSON");
    assert_eq!(first["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(gateway.generation_status(&generation).await, "complete");
    let messages = gateway.messages(&conversation).await;
    assert_eq!((&messages[1]["content"], &messages[1]["reasoning"]), (&json!("Yes."), &json!("Hm.")));
    // The id of the completion leads to the message.
    assert_eq!(first["id"], format!("chatcmpl-{}", messages[1]["id"].as_str().expect("an id")));
}

#[tokio::test]
async fn who_hangs_up_cancels_in_either_form() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("streams", Chat::new().text("Half").step(Step::Hang).steps());
    upstream.script("thinks", vec![Step::Hang]);
    upstream.script("whole", Chat::new().text("Half").step(Step::Hang).steps());

    let mut chunks = Chunks::open(&gateway, &streamed("up/streams")).await;
    let generation = chunks.exchange.headers.expect("x-generation-id").to_owned();
    chunks.until("Half").await;
    drop(chunks);
    upstream.call("streams").await.closed().await;
    within("it is cancelled", async { while gateway.generation_status(&generation).await != "cancelled" {} }).await;

    for (request, model) in [(streamed("up/thinks"), "thinks"), (ask("up/whole", &json!({})), "whole")] {
        let address = gateway.address();
        let asking = tokio::spawn(async move { request.send(address).await.map(|exchange| exchange.status) });
        let call = upstream.call(model).await;
        asking.abort();
        call.closed().await;
    }
}

#[tokio::test]
async fn a_cancelled_answer_is_done_for_its_client() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::new().text("Half").step(Step::Hang).steps());
    let mut chunks = Chunks::open(&gateway, &streamed("up/m")).await;
    chunks.until("Half").await;
    let generation = chunks.exchange.headers.expect("x-generation-id").to_owned();
    gateway.post(&format!("/api/generations/{generation}/cancel"), &json!({})).await.expect(200);
    let payloads = chunks.finish().await;
    let [.., finish, done] = &payloads[..] else { panic!("{payloads:?}") };
    assert!(finish.contains("\"finish_reason\":\"stop\"") && done == "[DONE]", "{payloads:?}");
}

#[tokio::test]
async fn with_a_key_the_same_request_is_answered_once_more_and_not_paid_twice() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let gate = Gate::new();
    upstream.script("m", Chat::new().text("Half").gate(&gate).text(" and all.").finish("stop").done());
    let mut first = Chunks::open(&gateway, &streamed("up/m").header("idempotency-key", "k1")).await;
    first.until("Half").await;
    // It is cut off, and comes back in time.
    drop(first);
    let again = Chunks::open(&gateway, &streamed("up/m").header("idempotency-key", "k1")).await;
    assert_eq!(again.exchange.headers.get("idempotent-replayed"), Some("true"));
    gate.open();
    let payloads = again.finish().await;
    assert!(
        payloads.iter().any(|payload| payload.contains("Half")) && payloads.last().is_some_and(|last| last == "[DONE]")
    );
    // Also in the other form, and when it has ended.
    let whole = gateway.send(&ask("up/m", &json!({"stream": false})).header("idempotency-key", "k1")).await.expect(200);
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "Half and all.");
    assert_eq!(whole.headers.get("idempotent-replayed"), Some("true"));
    gateway.stored().await;
    let stored = Chunks::open(&gateway, &streamed("up/m").header("idempotency-key", "k1")).await.finish().await;
    assert_eq!(stored, payloads, "the same from the database");
    let other = gateway.send(&ask("up/m", &json!({"seed": 7})).header("idempotency-key", "k1")).await.expect(422);
    assert_eq!(other.json()["error"]["code"], "idempotency_mismatch");
    assert_eq!(upstream.calls_of("m").len(), 1);
}

#[tokio::test]
async fn faults_have_the_api_s_form_and_statuses() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let invalid = "invalid_request_error";
    let rows = [
        (Request::post_raw(PATH, "{\"messages\":"), 400, invalid, "invalid_request"),
        (Request::post(PATH, &json!({"model": "up/m"})), 400, invalid, "invalid_request"),
        (ask("up/m", &json!({"temperature": "hot"})), 400, invalid, "invalid_request"),
        (ask("up/m", &json!({"n": 3})), 400, invalid, "invalid_request"),
        (ask("up/m", &json!({"messages": []})), 400, invalid, "invalid_request"),
        (ask("up/m", &json!({"metadata": {"conversation_id": "mine"}})), 400, invalid, "invalid_request"),
        (ask("nobody/m", &json!({})), 404, invalid, "unknown_model"),
        (ask("openai/gpt-5", &json!({})), 422, invalid, "provider_not_configured"),
        (ask("up/m", &json!({})).header("sec-fetch-site", "cross-site"), 403, "permission_error", "forbidden"),
        (Request::get(PATH), 405, invalid, "method_not_allowed"),
        (Request::post("/v1/embeddings", &json!({})), 404, invalid, "not_found"),
        (Request::get("/v1/models/nobody%2Fm"), 404, invalid, "unknown_model"),
    ];
    for (request, status, kind, code) in rows {
        let response = gateway.send(&request.header("accept", "application/problem+json")).await.expect(status);
        let error = response.json();
        let message = error["error"]["message"].as_str().expect("a message");
        let expected = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
        assert_eq!(error, expected);
        assert_eq!(response.headers.get("x-should-retry"), Some("false"), "{error}");
        response.headers.expect("x-request-id");
    }
    assert!(upstream.calls().is_empty());
    // Elsewhere the form is the one that it was.
    gateway.post("/api/generate", &json!({})).await.expect(422).error_code();
}

#[tokio::test]
async fn the_default_model_answers_where_none_is_named_and_all_is_below_the_base_path() {
    let gateway = Gateway::launch(Setup::new().base_path("/gate")).await;
    let body = json!({"messages": [{"role": "user", "content": "What is 2+2?"}]});
    let answer = gateway.post("/gate/v1/chat/completions", &body).await.expect(200).json();
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("demo/thinker")));
    let models = gateway.get("/gate/v1/models").await.expect(200).json();
    assert_eq!(models["object"], "list");
    let expected = json!({"id": "demo/thinker", "object": "model", "created": 0, "owned_by": "demo"});
    assert!(models["data"].as_array().is_some_and(|models| models.contains(&expected)), "{models}");
    for path in ["/gate/v1/models/demo/thinker", "/gate/v1/models/demo%2Fthinker"] {
        assert_eq!(gateway.get(path).await.expect(200).json(), expected);
    }
}
