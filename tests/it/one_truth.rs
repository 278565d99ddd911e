//! One conversation, watched at once in every dialect and over every transport: all are told the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::chat::Chat;
use crate::support::fold::Message;
use crate::support::gateway::{Gateway, Setup, list};
use crate::support::http::Request;
use crate::support::sse::{Frame, Reader};
use crate::support::steps::Gate;
use crate::support::upstream::Upstream;
use crate::support::within;
use crate::support::ws::{Socket, Tab};

/// What was thought and what was answered.
type Turn = (String, String);

/// Reads a turn of agent steps, whole or in parts.
async fn steps(socket: &mut Socket) -> Turn {
    let (mut thought, mut answer) = (String::new(), String::new());
    loop {
        let step = socket.until("reasoning_step").await;
        let data = &step["data"];
        let content = data["content"].as_str().expect("content");
        match data["type"].as_str() {
            Some("thought") => thought.push_str(content),
            Some("final_answer") => answer.push_str(content),
            _ => panic!("nothing else happens here: {step}"),
        }
        if data["type"] == "final_answer" && data["partial"] != true {
            return (thought, answer);
        }
    }
}

/// Reads a task of progress events, and checks its whole texts against the pieces.
async fn progress(socket: &mut Socket) -> Turn {
    let (mut thought, mut answer) = (String::new(), String::new());
    loop {
        let event = socket.get().await;
        let message = &event["message"];
        let text = message["text"].as_str().expect("a text");
        match message["type"].as_str() {
            Some("reasoning") => thought.push_str(text),
            Some("text") => answer.push_str(text),
            Some("completion") => {
                let whole = (message["reasoning"].as_str().expect("reasoning"), text);
                assert_eq!(whole, (thought.as_str(), answer.as_str()));
                return (thought, answer);
            }
            _ => panic!("nothing else happens here: {event}"),
        }
    }
}

/// The turns of a conversation as its Server-Sent Events tell them, up to the end of the last of so many.
async fn events(reader: &mut Reader, count: usize) -> Vec<Turn> {
    let ended = |frames: &[Frame]| frames.iter().filter(|frame| frame.is_terminal()).count();
    while ended(&reader.frames) < count {
        reader.next().await.expect("goes on");
    }
    let mut messages: BTreeMap<String, Message> = BTreeMap::new();
    for frame in reader.frames.iter().filter(|frame| !matches!(frame.kind(), "resumed" | "message")) {
        let id = frame.json["messageId"].as_str().expect("an id").to_owned();
        messages.entry(id).or_default().apply(&frame.json);
    }
    messages.into_values().map(|message| (message.reasoning, message.text)).collect()
}

/// A streamed answer in OpenAI's form.
async fn chunks(gateway: &Gateway, body: &Value) -> Turn {
    let exchange = Request::post("/v1/chat/completions", body).send(gateway.address()).await.expect("an answer");
    assert_eq!(exchange.status, 200);
    let response = within("the whole stream", exchange.response()).await.expect("an end");
    let (mut thought, mut answer) = (String::new(), String::new());
    let text = response.text();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| *line != "[DONE]") {
        let chunk: Value = serde_json::from_str(line).expect("JSON");
        let delta = &chunk["choices"][0]["delta"];
        thought.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
        answer.push_str(delta["content"].as_str().unwrap_or_default());
    }
    (thought, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_watchers_of_a_conversation_are_told_the_same() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&upstream, Setup::new().toml("[default]\nmodel = \"up/m\"")).await;
    upstream.script("m", Chat::answering("First I think. ", "Then I answer."));
    let first = ("First I think. ".to_owned(), "Then I answer.".to_owned());

    // Somebody begins it over one transport.
    let mut starter = Socket::open(gateway.address(), "/ws/chat/watched").await;
    starter.send(&json!({"type": "chat", "payload": {"message": "One.", "enable_reasoning": true}})).await;
    assert_eq!(steps(&mut starter).await, first);
    let listed = gateway.get("/api/conversations").await.expect(200).json();
    let all = list(&listed, "conversations");
    let [conversation] = &all[..] else { panic!("one conversation: {listed}") };
    assert_eq!(conversation["externalId"], "watched");
    let id = conversation["id"].as_str().expect("an id").to_owned();

    // Others come to it, over every other.
    let mut reader = gateway.open(&Request::get(format!("/api/conversations/{id}/events"))).await;
    let mut tab = Tab::new(gateway.address(), &id);
    tab.connect(None).await.expect("connected");
    let mut late = Socket::open(gateway.address(), "/ws/chat/watched?last_sync_id=0").await;
    assert_eq!(steps(&mut late).await, first);
    let mut parts = Socket::open(gateway.address(), "/ws/chat/watched?last_sync_id=0&stream=tokens").await;
    assert_eq!(steps(&mut parts).await, first);
    // What has ended and is stored is no task any more.
    gateway.idle().await;
    let mut listener = Socket::open(gateway.address(), "/ws/progress").await;
    listener.is_quiet().await;

    // And a stock client goes on in it, while all of them watch.
    let gate = Gate::new();
    let chat = (0..40).fold(Chat::new(), |chat, number| chat.reasoning(&format!("t{number} \"é\"\n")));
    let chat = chat.gate(&gate);
    let chat = (0..40).fold(chat, |chat, number| chat.text(&format!("a{number} 🦀 ")));
    upstream.script("m", chat.finish("stop").done());
    let thought: String = (0..40).map(|number| format!("t{number} \"é\"\n")).collect();
    let answer: String = (0..40).map(|number| format!("a{number} 🦀 ")).collect();
    let second = (thought, answer);
    let body = json!({
        "model": "up/m", "stream": true, "messages": [{"role": "user", "content": "Two."}],
        "metadata": {"conversation_id": id},
    });
    let all_see_it_live = async {
        while !tab.messages.values().any(|message| message.reasoning.contains("t39")) {
            tab.step().await.expect("goes on");
        }
        gate.open();
        tab.until_ended(2).await.expect("ends");
        tab.held()
    };
    let (held, chunked, events, whole, parted, started, progressed) = tokio::join!(
        all_see_it_live,
        chunks(&gateway, &body),
        events(&mut reader, 2),
        steps(&mut late),
        steps(&mut parts),
        steps(&mut starter),
        progress(&mut listener),
    );
    assert_eq!(events, [first.clone(), second.clone()]);
    assert_eq!(held, [first, second.clone()]);
    for (who, seen) in [
        ("OpenAI's chunks", chunked),
        ("whole steps", whole),
        ("steps in parts", parted),
        ("who began it", started),
        ("progress", progressed),
    ] {
        assert_eq!(seen, second, "{who}");
    }
    // What everybody was told is what is stored.
    gateway.stored().await;
    let stored = gateway.messages(&id).await;
    let stored: Vec<Turn> = stored
        .iter()
        .filter(|message| message["role"] == "assistant")
        .map(|message| {
            let text = |key: &str| message[key].as_str().expect("a text").to_owned();
            (text("reasoning"), text("content"))
        })
        .collect();
    assert_eq!(stored, held);
}
