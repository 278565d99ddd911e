//! Which provider and model a name leads to, and what is sent there.

use serde_json::json;

use crate::support::chat::Chat;
use crate::support::gateway::{Gateway, Setup};
use crate::support::upstream::{Call, Upstream};

/// Asks `model` a question and gives back what the upstream was asked.
async fn ask(gateway: &Gateway, upstream: &Upstream, model: &str) -> std::sync::Arc<Call> {
    let answer = gateway.generate_json(&json!({"model": model, "prompt": "Hi"})).await;
    assert_eq!(answer["content"], "Hello.", "{model}");
    upstream.calls().last().expect("a call").clone()
}

#[tokio::test]
async fn names_lead_to_an_alias_a_provider_or_the_default() {
    let upstream = Upstream::start().await;
    let other = Upstream::start().await;
    let setup = Setup::new()
        .toml("[default]\nmodel = \"up/usual\"")
        .toml("[aliases]\nquick = \"up/small\"")
        .provider("other", &other.base_url())
        .toml("models = [\"listed\"]");
    let gateway = Gateway::with(&upstream, setup).await;
    for model in ["usual", "small", "org/deep:free", "whatever"] {
        upstream.script(model, Chat::answering("", "Hello."));
    }
    other.script("listed", Chat::answering("", "Hello."));
    for (name, model) in
        [("up/small", "small"), ("quick", "small"), ("up/org/deep:free", "org/deep:free"), ("whatever", "whatever")]
    {
        assert_eq!(ask(&gateway, &upstream, name).await.model(), model);
    }
    assert_eq!(ask(&gateway, &other, "listed").await.model(), "listed");
    gateway.generate_json(&json!({"prompt": "Hi"})).await;
    assert_eq!(upstream.calls().last().expect("a call").model(), "usual");

    let models = gateway.get("/api/models").await.expect(200).text();
    for id in ["quick", "other/listed"] {
        assert!(models.contains(&format!("\"{id}\"")), "{id} is not in {models}");
    }
    let keyless = "\"openai/gpt-5\"";
    assert!(!models.contains(keyless), "a provider without its key is listed: {models}");
    let all = gateway.get("/api/models?all=1").await.expect(200).json();
    let rows = crate::support::gateway::list(&all, "models");
    let keyless = rows.iter().find(|row| row["id"] == "openai/gpt-5").expect("everything is listed");
    assert_eq!(keyless["available"], false);
}

#[tokio::test]
async fn only_models_that_reason_are_asked_to() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().toml("[[models]]\npattern = \"deep-*\"\nreasoning = true");
    let gateway = Gateway::with(&upstream, setup).await;
    for model in ["deep-1", "plain-1"] {
        upstream.script(model, Chat::answering("", "Hello."));
        let name = format!("up/{model}");
        let body = json!({"model": name, "prompt": "Hi", "useReasoning": true, "reasoningEffort": "low"});
        gateway.generate_json(&body).await;
        let sent = upstream.call(model).await.body["reasoning_effort"].clone();
        let expected = if model == "deep-1" { json!("low") } else { json!(null) };
        assert_eq!(sent, expected, "{model}");
    }
}

#[tokio::test]
async fn usage_is_asked_for() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("", "Hello."));
    let call = ask(&gateway, &upstream, "up/m").await;
    assert_eq!(call.body["stream_options"]["include_usage"], true);
    assert!(call.header("content-type").is_some_and(|kind| kind.starts_with("application/json")));
}
