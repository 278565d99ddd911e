use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::*;
use crate::config::OnDisconnect;
use crate::event::{ReasoningEffort, SyncId};
use crate::http::dialects::DialectName;

fn read(body: &Value) -> GenerateRequest {
    serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn refusal(body: &Value) -> String {
    match serde_json::from_value::<GenerateRequest>(body.clone()) {
        Err(error) => error.to_string(),
        Ok(request) => match request.check() {
            Err(fault) => fault.message,
            Ok(()) => panic!("{body} was taken"),
        },
    }
}

/// Every field in camelCase.
fn full() -> Value {
    json!({
        "messages": [
            {"role": "assistant", "content": "", "toolCalls": [{"id": "c1", "name": "f", "arguments": "{}"}]},
            {"role": "tool", "content": "4", "toolCallId": "c1"},
        ],
        "model": "demo/thinker",
        "stream": true,
        "conversationId": "0192f0c1-7a00-7000-8000-0000000000c1",
        "generationId": "0192f0c1-7a00-7000-8000-0000000000a1",
        "useReasoning": true,
        "reasoningEffort": "low",
        "temperature": 0.5,
        "topP": 0.9,
        "maxTokens": 100,
        "stop": ["a"],
        "seed": 7,
        "tools": [{"type": "function"}],
        "toolChoice": "auto",
        "onDisconnect": {"graceMs": 500},
        "batchMs": 20,
        "taskId": "t",
        "metadata": {"topP": "kept as it is"},
    })
}

/// The same request with snake_case keys.
fn full_in_snake_case() -> Value {
    let text = full().to_string().replace("\"topP\":\"kept", "\"metadataKey\":\"kept");
    let words = [
        ("toolCalls", "tool_calls"),
        ("toolCallId", "tool_call_id"),
        ("conversationId", "conversation_id"),
        ("generationId", "generation_id"),
        ("useReasoning", "use_reasoning"),
        ("reasoningEffort", "reasoning_effort"),
        ("topP", "top_p"),
        ("maxTokens", "max_tokens"),
        ("toolChoice", "tool_choice"),
        ("onDisconnect", "on_disconnect"),
        ("graceMs", "grace_ms"),
        ("batchMs", "batch_ms"),
        ("taskId", "task_id"),
        ("metadataKey", "topP"),
    ];
    let text =
        words.iter().fold(text, |text, (camel, snake)| text.replace(&format!("\"{camel}\""), &format!("\"{snake}\"")));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_field_is_understood_in_both_spellings() {
    for body in [full(), full_in_snake_case()] {
        let mut request = read(&body);
        request.check().expect("a good request");
        assert_eq!(request.conversation_id, Some("0192f0c1-7a00-7000-8000-0000000000c1".parse().expect("an id")));
        assert_eq!(request.generation_id, Some("0192f0c1-7a00-7000-8000-0000000000a1".parse().expect("an id")));
        assert_eq!((request.stream, request.batch_ms), (Some(true), Some(20)));
        assert_eq!(request.on_disconnect(), Some(OnDisconnect::Grace { grace_ms: 500 }));
        assert_eq!(request.metadata.get("topP").map(String::as_str), Some("kept as it is"));
        let input = request.take_input();
        let asked = request.model_request(input);
        assert_eq!((asked.use_reasoning, asked.reasoning_effort), (Some(true), Some(ReasoningEffort::Low)));
        assert_eq!((asked.temperature, asked.top_p, asked.max_tokens), (Some(0.5), Some(0.9), Some(100)));
        assert_eq!((asked.stop.as_slice(), asked.seed), (["a".to_owned()].as_slice(), Some(7)));
        assert_eq!((asked.tools.len(), asked.tool_choice), (1, Some(json!("auto"))));
        assert_eq!(asked.messages[0].tool_calls[0].name, "f");
        assert_eq!(asked.messages[1].tool_call_id.as_deref(), Some("c1"));
    }
}

#[test]
fn null_says_the_same_as_nothing() {
    let mut body = full();
    for (_, value) in body.as_object_mut().expect("an object") {
        *value = Value::Null;
    }
    body["prompt"] = json!("hi");
    let mut request = read(&body);
    request.check().expect("a good request");
    assert_eq!(request.hash(), read(&json!({"prompt": "hi"})).hash());

    let message = json!({"role": "user", "content": "hi", "toolCalls": null, "toolCallId": null});
    let call = json!({"role": "assistant", "content": null, "toolCalls": [{"id": "c", "name": "f", "arguments": ""}]});
    let mut request = read(&json!({"prompt": null, "messages": [message, call]}));
    request.check().expect("a good request");
    assert_eq!(request.take_input()[1].content, "");
}

#[test]
fn the_question_comes_as_a_prompt_or_as_messages() {
    assert!(refusal(&json!({"model": "demo/thinker"})).contains("prompt (a text) or messages"));
    let message = json!({"role": "user", "content": "hi"});
    assert!(refusal(&json!({"prompt": "hi", "messages": [message]})).contains("not both"));
    assert!(refusal(&json!({"prompt": " \n"})).contains("prompt is empty"));
    assert!(refusal(&json!({"messages": []})).contains("messages is empty"));
    assert!(refusal(&json!({"messages": [message, {"role": "user"}]})).contains("messages[1]"));
    assert!(refusal(&json!({"messages": [{"role": "tool", "content": "4"}]})).contains("toolCallId"));
    assert!(refusal(&json!({"messages": [{"role": "nobody", "content": "hi"}]})).contains("nobody"));
}

#[test]
fn wrong_types_and_values_are_refused() {
    for (field, value) in [
        ("model", json!(7)),
        ("model", json!("m".repeat(257))),
        ("models", json!([])),
        ("models", json!(["demo/thinker", " "])),
        ("models", json!(vec!["demo/thinker"; 9])),
        ("stream", json!("yes")),
        ("conversationId", json!("mine")),
        ("generationId", json!(1)),
        ("useReasoning", json!(1)),
        ("reasoningEffort", json!("gigantic")),
        ("temperature", json!("warm")),
        ("maxTokens", json!(-1)),
        ("stop", json!(1)),
        ("tools", json!({})),
        ("batchMs", json!(1001)),
        ("batchMs", json!(-1)),
        ("taskId", json!("t".repeat(257))),
        ("metadata", json!({"k": 1})),
        ("metadata", json!({"k": "v".repeat(1025)})),
        ("metadata", (0..17).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>().into()),
    ] {
        let mut body = json!({"prompt": "hi"});
        body[field] = value;
        assert!(!refusal(&body).is_empty());
    }
    let most: serde_json::Map<_, _> = (0..16).map(|n| (n.to_string(), json!("v".repeat(1024)))).collect();
    read(&json!({"prompt": "hi", "batchMs": 1000, "metadata": most})).check().expect("just within the bounds");
}

#[test]
fn the_disconnect_policy_has_three_forms() {
    let policy = |value: Value| read(&json!({"prompt": "hi", "onDisconnect": value})).on_disconnect();
    assert_eq!(policy(json!("continue")), Some(OnDisconnect::Continue));
    assert_eq!(policy(json!("cancel")), Some(OnDisconnect::Cancel));
    assert_eq!(policy(json!({"graceMs": 0})), Some(OnDisconnect::Grace { grace_ms: 0 }));
    assert_eq!(policy(Value::Null), None);
    for wrong in [json!("stop"), json!({"graceMs": -1}), json!({}), json!(true)] {
        let said = refusal(&json!({"prompt": "hi", "onDisconnect": wrong}));
        assert!(said.contains("graceMs"), "{said}");
    }
}

#[test]
fn a_repeated_request_is_known_in_any_spelling() {
    let hash = |body: &Value| read(body).hash().expect("a hash");
    assert_eq!(hash(&full()), hash(&full_in_snake_case()));
    let plain = json!({"prompt": "hi", "stop": ["a"]});
    for same in [
        json!({"stop": "a", "prompt": "hi"}),
        json!({"prompt": "hi", "stop": ["a"], "metadata": {}, "seed": null}),
        json!({"prompt": "hi", "stop": ["a"], "unknown": 1}),
        // How the answer is to look is not what is asked.
        json!({"prompt": "hi", "stop": ["a"], "stream": true, "batchMs": 50}),
    ] {
        assert_eq!(hash(&same), hash(&plain), "{same}");
    }
    for other in [
        json!({"prompt": "hi!", "stop": ["a"]}),
        json!({"prompt": "hi"}),
        json!({"prompt": "hi", "stop": ["a"], "model": "demo/thinker"}),
        json!({"prompt": "hi", "stop": ["a"], "useReasoning": false}),
    ] {
        assert_ne!(hash(&other), hash(&plain), "{other}");
    }
}

/// What the resume parameters of a request come to, or the status and code of their refusal.
fn resumed(query: &str, header: Option<&str>) -> Result<Resume, u16> {
    let mut request = TestRequest::get().uri(&format!("/events{query}"));
    if let Some(header) = header {
        request = request.insert_header(("last-event-id", header));
    }
    resume(&request.to_http_request()).map_err(|error| error.response().status().as_u16())
}

#[test]
fn a_reader_says_where_and_how_to_go_on() {
    let at =
        |after: u64| Resume { after: SyncId::new(after), compact: false, batch_ms: 0, dialect: DialectName::Native };
    assert_eq!(resumed("", None), Ok(at(0)));
    assert_eq!(resumed("?after=7", None), Ok(at(7)));
    assert_eq!(resumed("?after=7", Some("9")), Ok(at(9)), "the header beats the parameter");
    assert_eq!(resumed("?after=7", Some("")), Ok(at(7)), "browsers send an empty header for nothing");
    assert_eq!(resumed("", Some("99999999999999999999999")), Ok(at(i64::MAX as u64)));
    assert_eq!(resumed("?compact=1", None), Ok(Resume { compact: true, ..at(0) }));
    assert_eq!(resumed("?compact=0", None), Ok(at(0)));
    for spelling in ["batchMs", "batch_ms"] {
        assert_eq!(resumed(&format!("?{spelling}=250"), None), Ok(Resume { batch_ms: 250, ..at(0) }));
        assert_eq!(resumed(&format!("?{spelling}=1001"), None), Err(422));
        assert_eq!(resumed(&format!("?{spelling}=soon"), None), Err(400));
    }
    for (query, header) in [("?after=-1", None), ("?after=", None), ("", Some("yesterday")), ("?compact=maybe", None)] {
        assert_eq!(resumed(query, header), Err(400), "{query} {header:?}");
    }
}
