//! The plain resources: conversations, messages, models, health.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::chat::Chat;
use crate::support::gateway::{Gateway, Setup, list};
use crate::support::http::Request;
use crate::support::sse::Reader;
use crate::support::upstream::Upstream;
use crate::support::within;

#[tokio::test]
async fn conversations_are_made_and_listed_newest_first() {
    let gateway = Gateway::launch(Setup::new()).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let conversation = gateway.post("/api/conversations", &json!({})).await.expect(201).json();
        made.push(conversation["id"].as_str().expect("an id").to_owned());
    }
    let listed = gateway.get("/api/conversations").await.expect(200).json();
    let listed = list(&listed, "conversations");
    let listed: Vec<_> = listed.iter().map(|conversation| conversation["id"].as_str().expect("an id")).collect();
    made.reverse();
    assert_eq!(listed, made);
    for id in &made {
        let one = gateway.get(&format!("/api/conversations/{id}")).await.expect(200).json();
        assert_eq!(one["id"], *id);
        assert_eq!(gateway.messages(id).await.len(), 0);
    }
}

#[tokio::test]
async fn a_generation_shows_in_the_list() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("", "Hello."));
    let older = gateway.post("/api/conversations", &json!({})).await.expect(201).json();
    let answer = gateway.generate_json(&json!({"model": "up/m", "prompt": "Hi"})).await;
    let listed = gateway.get("/api/conversations").await.expect(200).json();
    let listed = list(&listed, "conversations");
    let ids: Vec<_> = listed.iter().map(|conversation| &conversation["id"]).collect();
    assert_eq!(ids, [&answer["conversationId"], &older["id"]]);
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let gateway = Gateway::launch(Setup::new()).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        let conversation = gateway.post("/api/conversations", &json!({})).await.expect(201).json();
        made.insert(0, conversation["id"].clone());
    }
    let mut seen = Vec::new();
    let mut path = "/api/conversations?limit=2".to_owned();
    for length in [2, 2, 1] {
        let page = gateway.get(&path).await.expect(200).json();
        let rows = list(&page, "conversations");
        assert_eq!(rows.len(), length, "{page}");
        seen.extend(rows.into_iter().map(|row| row["id"].clone()));
        path = match page["nextCursor"].as_str() {
            Some(cursor) => format!("/api/conversations?limit=2&cursor={cursor}"),
            None => break,
        };
    }
    assert_eq!(seen, made);
    for query in ["limit=many", "cursor=nonsense"] {
        let response = gateway.get(&format!("/api/conversations?{query}")).await;
        assert!(matches!(response.status, 400 | 422), "{query}: {}", response.status);
        assert_eq!(response.error_code(), "invalid_request", "{query}");
    }
}

#[tokio::test]
async fn conversations_are_named_and_deleted() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("", "Hello."));
    let made = gateway.post("/api/conversations", &json!({"title": "Sums"})).await.expect(201).json();
    assert_eq!(made["title"], "Sums");
    let id = made["id"].as_str().expect("an id");
    let path = format!("/api/conversations/{id}");
    let renamed = gateway.send(&Request::post(&path, &json!({"title": "Products"})).method("PATCH")).await;
    assert_eq!(renamed.expect(200).json()["title"], "Products");
    let body = json!({"model": "up/m", "prompt": "Hi", "conversationId": id});
    let answer = gateway.generate_json(&body).await;
    let shown = gateway.get(&path).await.expect(200).json();
    assert_eq!(shown["title"], "Products");
    let last = gateway.messages(id).await[1]["lastSyncId"].as_u64();
    assert!(shown["lastSyncId"].as_u64() >= last, "{shown}");

    let delete = Request::get(&path).method("DELETE");
    assert!(gateway.send(&delete).await.expect(204).body.is_empty());
    let generation = answer["generationId"].as_str().expect("an id");
    for gone in [
        path.clone(),
        format!("{path}/messages"),
        format!("{path}/events"),
        format!("/api/generations/{generation}"),
        format!("/api/generations/{generation}/events"),
    ] {
        assert_eq!(gateway.get(&gone).await.expect(404).error_code(), "not_found", "{gone}");
    }
    gateway.send(&delete).await.expect(404);
}

#[tokio::test]
async fn messages_have_every_promised_field() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("Let me think.", "It is four."));
    let body = json!({"model": "up/m", "prompt": "What is 2+2?", "metadata": {"topic": "sums"}});
    let mut reader = gateway.generate(&body).await;
    reader.finish().await;
    let messages = within("the last number is stored too", settled(&gateway, &reader)).await;
    assert_eq!(messages.len(), 2);
    for message in &messages {
        for field in [
            "id",
            "role",
            "content",
            "reasoning",
            "reasoningBlocks",
            "toolCalls",
            "usage",
            "status",
            "finishReason",
            "provider",
            "model",
            "createdAt",
            "timing",
            "firstSyncId",
            "lastSyncId",
            "metadata",
        ] {
            assert!(message.get(field).is_some(), "no {field}: {message}");
        }
        assert!(message["createdAt"].as_str().is_some_and(|at| at.contains('T') && at.ends_with('Z')), "{message}");
    }
    let [question, answer] = &messages[..] else { unreachable!("there are two") };
    assert_eq!(question["role"], "user");
    assert_eq!(question["content"], "What is 2+2?");
    assert_eq!(answer["id"], reader.frames[0].json["messageId"]);
    assert_eq!(reader.frames[0].json["replyTo"], question["id"]);
    assert_eq!(answer["role"], "assistant");
    assert_eq!(answer["content"], "It is four.");
    assert_eq!(answer["reasoning"], "Let me think.");
    assert_eq!(answer["reasoningBlocks"][0]["text"], "Let me think.");
    assert_eq!(answer["toolCalls"], json!([]));
    assert_eq!(answer["usage"]["totalTokens"], 18);
    assert_eq!(answer["status"], "complete");
    assert_eq!(answer["finishReason"], "stop");
    assert_eq!(answer["provider"], "up");
    assert_eq!(answer["model"], "m");
    assert_eq!(answer["metadata"], json!({"topic": "sums"}));
    let numbers: Vec<_> = reader.numbered().iter().map(|(id, _)| *id).collect();
    assert_eq!(answer["firstSyncId"], numbers[0]);
    let last = answer["lastSyncId"].as_u64().expect("a number");
    assert_eq!(numbers.last(), Some(&last));
    assert!(question["lastSyncId"].as_u64() < answer["firstSyncId"].as_u64());
}

/// The messages, once the number of the terminal event, which is given out after the message was stored, is stored too.
async fn settled(gateway: &Gateway, reader: &Reader) -> Vec<Value> {
    loop {
        let messages = gateway.messages(reader.headers.expect("x-conversation-id")).await;
        if messages.iter().all(|message| message["lastSyncId"].is_u64()) {
            return messages;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn whoever_has_seen_the_end_is_told_the_last_number() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("Hm.", "Hello."));
    for _ in 0..10 {
        let mut reader = gateway.stream("m").await;
        reader.finish().await;
        let generation = reader.headers.expect("x-generation-id");
        let state = gateway.get(&format!("/api/generations/{generation}")).await.expect(200).json();
        assert_eq!(state["status"], "complete");
        assert_eq!(state["lastSyncId"].as_u64(), reader.last_id, "{state}");
        let messages = gateway.messages(reader.headers.expect("x-conversation-id")).await;
        assert_eq!(messages[1]["lastSyncId"].as_u64(), reader.last_id, "{}", messages[1]);
        assert!(messages[1]["createdAt"].as_str() >= messages[0]["createdAt"].as_str());
    }
}

#[tokio::test]
async fn models_name_what_can_be_asked() {
    let gateway = Gateway::launch(Setup::new()).await;
    let models = gateway.get("/api/models").await.expect(200).json();
    let ids: Vec<_> = list(&models, "models").iter().map(|model| model["id"].clone()).collect();
    assert!(ids.contains(&Value::from("demo/thinker")), "{models}");
}

#[tokio::test]
async fn health_is_told() {
    let gateway = Gateway::launch(Setup::new()).await;
    for path in ["/healthz", "/readyz"] {
        let response = gateway.get(path).await.expect(200);
        assert!(!response.headers.expect("x-request-id").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_json_too() {
    let gateway = Gateway::launch(Setup::new()).await;
    for path in ["/api/nothing", "/nothing/at/all", "/api/generate/more"] {
        assert_eq!(gateway.get(path).await.expect(404).error_code(), "not_found", "{path}");
    }
    for request in [Request::get("/api/generate"), Request::get("/api/conversations").method("PUT")] {
        let response = gateway.send(&request).await;
        assert_eq!(response.status, 405, "{}", response.text());
        assert_eq!(response.error_code(), "method_not_allowed");
        let allowed = response.headers.expect("allow");
        assert!(allowed.contains("POST"), "{allowed}");
    }
}
