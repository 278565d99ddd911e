//! A provider's key is used, and appears nowhere.

use serde_json::json;

use crate::support::chat::{Chat, event_bytes};
use crate::support::gateway::{Gateway, Setup, stream_request};
use crate::support::http::Request;
use crate::support::new_id;
use crate::support::steps::{Step, answer};
use crate::support::upstream::Upstream;

const KEY: &str = "sk-live-0123456789abcdefghijklmnopqrstuvwxyz";

#[tokio::test]
async fn a_key_that_the_provider_echoes_is_shown_to_nobody() {
    let upstream = Upstream::start().await;
    let setup = Setup::new()
        .toml("[log]\nlevel = \"debug\"")
        .toml(&format!(
            "[providers.keyed]\nprotocol = \"openai_chat\"\nbase_url = \"{}\"\napi_key_env = \"KEYED_API_KEY\"",
            upstream.base_url()
        ))
        .env("KEYED_API_KEY", KEY);
    let gateway = Gateway::with(&upstream, setup).await;
    let message = format!("Incorrect API key provided: {KEY}. You can find your API key in your account.");
    let error = json!({"error": {"message": message, "type": "invalid_request_error", "code": "invalid_api_key"}});
    upstream.script("refused", answer(401, &[("content-type", "application/json")], error.to_string()));
    upstream.script("broken", answer(500, &[("content-type", "text/plain")], message));
    upstream.script("inside", Chat::new().text("Half").step(Step::Chunk(event_bytes(&error))).done());
    upstream.script("good", Chat::answering("Hm.", "Hello."));

    let mut shown = Vec::new();
    for model in ["refused", "broken", "inside", "good"] {
        let (generation, conversation) = (new_id(), new_id());
        let body = json!({"model": format!("keyed/{model}"), "prompt": "Hi",
            "generationId": generation, "conversationId": conversation});
        let response = gateway.send(&stream_request(&body)).await;
        shown.push((format!("headers of {model}"), format!("{:?}", response.headers)));
        shown.push((format!("answer of {model}"), response.text()));
        for path in [
            format!("/api/generations/{generation}"),
            format!("/api/generations/{generation}/events"),
            format!("/api/conversations/{conversation}/messages"),
        ] {
            shown.push((format!("{path} of {model}"), gateway.get(&path).await.text()));
        }
        let call = upstream.call(model).await;
        assert_eq!(call.header("authorization"), Some(format!("Bearer {KEY}").as_str()), "the key was not used");
    }
    for path in ["/api/models", "/readyz", "/healthz", "/metrics"] {
        shown.push((path.to_owned(), gateway.send(&Request::get(path)).await.text()));
    }
    assert!(!gateway.log().is_empty(), "there is a log to look into");
    shown.push(("the log".to_owned(), gateway.log()));
    for (place, text) in shown {
        assert!(!text.contains(KEY) && !text.contains(&KEY[8..]), "the key is in {place}: {text}");
    }
}
