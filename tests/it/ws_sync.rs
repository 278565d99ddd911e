//! The sync engine over `/ws`, as its clients see it.

use serde_json::{Value, json};

use crate::support::chat::Chat;
use crate::support::gateway::{Gateway, Setup};
use crate::support::new_id;
use crate::support::steps::Gate;
use crate::support::upstream::Upstream;
use crate::support::ws::{Ended, Socket, Tab, handshake};

async fn socket(gateway: &Gateway) -> Socket {
    Socket::open(gateway.address(), "/ws").await
}

fn say(content: &str) -> Value {
    json!({"type": "message", "content": content, "model": "up/m"})
}

#[tokio::test]
async fn a_message_is_accepted_and_answered() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("Two and two. ", "Four."));
    let mut socket = socket(&gateway).await;
    let (conversation, id) = (new_id(), new_id());
    let message = json!({
        "type": "message", "id": id, "conversationId": conversation, "content": "2+2?", "model": "up/m",
        "useReasoning": true, "metadata": {"a": "b"},
    });
    let accepted = socket.ask(&message).await;
    assert_eq!(accepted["type"], "accepted", "{accepted}");
    assert_eq!((&accepted["id"], &accepted["messageId"]), (&json!(id), &json!(id)), "a UUID is the answer's id");
    assert_eq!(accepted["conversationId"], conversation);
    let (reasoning, text, complete) = socket.answer().await;
    assert_eq!((reasoning.as_str(), text.as_str()), ("Two and two. ", "Four."));
    assert_eq!(complete["messageId"], id);
    assert_eq!(
        (&complete["finishReason"], &complete["stored"], &complete["final"]),
        (&json!("stop"), &json!(true), &json!(true))
    );
    let stored = gateway.messages(&conversation).await;
    assert_eq!(stored[0]["id"], accepted["userMessageId"]);
    assert_eq!((&stored[1]["id"], &stored[1]["content"]), (&json!(id), &json!("Four.")));
    assert_eq!(stored[1]["metadata"]["a"], "b");
    let reply = socket.ask(&json!({"type": "ping", "id": 7})).await;
    assert_eq!(reply, json!({"type": "pong", "id": "7"}));
}

#[tokio::test]
async fn every_tab_sees_the_same_and_the_user_s_messages_too() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let gate = Gate::new();
    upstream.script("m", Chat::new().reasoning("Hm.").text("One ").gate(&gate).text("two.").finish("stop").done());
    let conversation = new_id();
    let mut early = Tab::new(gateway.address(), &conversation);
    early.connect(None).await.expect("connected");
    let mut sender = socket(&gateway).await;
    let mut message = say("Count.");
    message["conversationId"] = json!(conversation);
    assert_eq!(sender.ask(&message).await["type"], "accepted");
    while early.messages.values().all(|message| message.text.is_empty()) {
        early.step().await.expect("goes on");
    }
    let mut late = Tab::new(gateway.address(), &conversation);
    late.connect(None).await.expect("connected");
    gate.open();
    for tab in [&mut early, &mut late] {
        tab.until_ended(1).await.expect("ends");
        assert_eq!(tab.said, ["Count."]);
        assert_eq!(tab.held(), [("Hm.".to_owned(), "One two.".to_owned())]);
    }
    assert_eq!(early.last, late.last);
    sender.until("complete").await;
    // Another one starts something there, and all see it, without having asked.
    let mut other = socket(&gateway).await;
    gate.open();
    assert_eq!(other.ask(&message).await["type"], "accepted");
    for tab in [&mut early, &mut late] {
        tab.until_ended(2).await.expect("ends");
        assert_eq!(tab.said.len(), 2);
    }
    sender.until("complete").await;
}

#[tokio::test]
async fn a_message_that_comes_again_is_answered_and_not_asked_again() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("", "Once."));
    for id in [json!(new_id()), json!("m-1"), json!(17)] {
        let before = upstream.calls().len();
        let conversation = new_id();
        let mut message = say("Go.");
        message["id"] = id.clone();
        message["conversationId"] = json!(conversation);
        let mut first = socket(&gateway).await;
        let accepted = first.ask(&message).await;
        assert_eq!(accepted["type"], "accepted", "{accepted}");
        first.until("complete").await;
        // On the same socket, which reads the conversation already, nothing is told twice.
        assert_eq!(first.ask(&message).await, accepted);
        first.is_quiet().await;
        // On another one, everything is.
        let mut second = socket(&gateway).await;
        assert_eq!(second.ask(&message).await, accepted);
        assert_eq!(second.answer().await.1, "Once.");
        // After a crash, too.
        gateway.stored().await;
        assert_eq!(upstream.calls().len(), before + 1, "asked once for {id}");
        let mut other = message.clone();
        other["content"] = json!("Something else.");
        let refused = second.ask(&other).await;
        assert_eq!(
            (&refused["type"], &refused["code"]),
            (&json!("error"), &json!("idempotency_mismatch")),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn the_same_message_at_two_sockets_at_once_is_one() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("", "Once."));
    let mut message = say("Go.");
    message["id"] = json!(new_id());
    let (mut one, mut other) = (socket(&gateway).await, socket(&gateway).await);
    let (first, second) = tokio::join!(one.ask(&message), other.ask(&message));
    assert_eq!(first["type"], "accepted", "{first}");
    assert_eq!(first, second);
    tokio::join!(one.until("complete"), other.until("complete"));
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn a_message_goes_to_the_only_subscription_or_has_to_say_where() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("", "Yes."));
    let mut socket = socket(&gateway).await;
    let first = socket.ask(&say("No subscription.")).await;
    socket.until("complete").await;
    let second = socket.ask(&say("One.")).await;
    assert_eq!(second["conversationId"], first["conversationId"], "the new one was the socket's only one");
    socket.until("complete").await;
    let subscribed = socket.ask(&json!({"type": "subscribe", "conversationId": new_id()})).await;
    assert_eq!((&subscribed["type"], &subscribed["verdict"]), (&json!("subscribed"), &json!("exact")));
    let refused = socket.ask(&say("Two.")).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("conversation_required")));
    let mut named = say("Named.");
    named["conversationId"] = subscribed["conversationId"].clone();
    let third = socket.ask(&named).await;
    assert_eq!(third["conversationId"], subscribed["conversationId"], "{third}");
    socket.until("complete").await;
    let left = socket.ask(&json!({"type": "unsubscribe", "conversationId": first["conversationId"]})).await;
    assert_eq!(left, json!({"type": "unsubscribed", "conversationId": first["conversationId"]}));
    assert_eq!(socket.ask(&say("One again.")).await["conversationId"], subscribed["conversationId"]);
}

#[tokio::test]
async fn a_conversation_that_a_socket_left_is_silent() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("", "Yes."));
    let mut reader = socket(&gateway).await;
    let conversation = new_id();
    reader.ask(&json!({"type": "subscribe", "conversationId": conversation})).await;
    assert_eq!(reader.ask(&json!({"type": "unsubscribe"})).await["type"], "unsubscribed");
    let mut message = say("Go.");
    message["conversationId"] = json!(conversation);
    let mut sender = socket(&gateway).await;
    sender.ask(&message).await;
    sender.until("complete").await;
    reader.is_quiet().await;
}

#[tokio::test]
async fn a_client_chooses_what_it_is_told_and_how_often() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let gate = Gate::new();
    let chat = Chat::new().reasoning("Hm.").text("a").text("b").text("c").gate(&gate).finish("stop").done();
    upstream.script("m", chat);
    let conversation = new_id();
    let subscribe = |more: Value| {
        let mut subscribe = json!({"type": "subscribe", "conversationId": conversation});
        subscribe.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        subscribe
    };
    let (mut plain, mut joined) = (socket(&gateway).await, socket(&gateway).await);
    plain.ask(&subscribe(json!({"features": []}))).await;
    joined.ask(&subscribe(json!({"features": ["reasoning"], "batchMs": 1000}))).await;
    let mut message = say("Go.");
    message["conversationId"] = json!(conversation);
    let mut sender = socket(&gateway).await;
    sender.ask(&message).await;
    let told = async |socket: &mut Socket| {
        let mut told = Vec::new();
        loop {
            let message = socket.get().await;
            let kind = message["event"]["type"].as_str().or(message["type"].as_str()).expect("a type");
            told.push(format!(
                "{kind} {}{}",
                message["delta"]["reasoning"].as_str().unwrap_or(""),
                message["delta"]["content"].as_str().unwrap_or("")
            ));
            if kind == "complete" {
                return told;
            }
            if told.last().is_some_and(|last| last.ends_with('c')) {
                gate.open();
            }
        }
    };
    let expected = ["message ", "start ", "update a", "update b", "update c", "complete "];
    assert_eq!(told(&mut plain).await, expected);
    assert_eq!(told(&mut joined).await, ["message ", "start ", "update Hm.", "update abc", "complete "]);
}

#[tokio::test]
async fn what_runs_can_be_stopped_by_each_of_its_names() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::new().text("Begun.").gate(&Gate::new()).done());
    for name in ["generationId", "messageId", "id"] {
        let calls = upstream.calls().len();
        let mut socket = socket(&gateway).await;
        let mut message = say("Go.");
        message["id"] = json!(if name == "id" { "mine".to_owned() } else { new_id() });
        let accepted = socket.ask(&message).await;
        socket.until("update").await;
        let cancelled = socket.ask(&json!({"type": "cancel", name: accepted[name]})).await;
        assert_eq!((&cancelled["type"], &cancelled["generationId"]), (&json!("cancelled"), &accepted["generationId"]));
        let complete = socket.until("complete").await;
        assert_eq!(complete["finishReason"], "cancelled");
        upstream.calls()[calls].closed().await;
        let again = socket.ask(&json!({"type": "cancel", name: accepted[name]})).await;
        assert_eq!((&again["type"], &again["code"]), (&json!("error"), &json!("already_ended")), "{name}: {again}");
    }
    let mut socket = socket(&gateway).await;
    for cancel in [json!({"type": "cancel", "messageId": new_id()}), json!({"type": "cancel", "id": "unknown"})] {
        assert_eq!(socket.ask(&cancel).await["code"], "not_found");
    }
    // One that overtook its message is remembered.
    let generation = new_id();
    let early = socket.ask(&json!({"type": "cancel", "generationId": generation})).await;
    assert_eq!(early["type"], "cancelled");
    let mut message = say("Go.");
    message["generationId"] = json!(generation);
    socket.ask(&message).await;
    assert_eq!(socket.until("complete").await["finishReason"], "cancelled");
}

#[tokio::test]
async fn a_client_of_the_other_spelling_is_answered_in_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::with(&upstream, Setup::new().toml("[default]\nmodel = \"up/m\"")).await;
    upstream.script("m", Chat::answering("Hm.", "Yes."));
    let mut socket = socket(&gateway).await;
    let subscribed = socket.ask(&json!({"type": "Subscribe", "scope": "chat"})).await;
    assert_eq!((&subscribed["type"], &subscribed["last_sync_id"]), (&json!("Subscribed"), &json!(0)));
    let conversation = subscribed["conversation_id"].as_str().expect("an id").to_owned();
    let id = new_id();
    socket.send(&json!({"type": "Message", "id": id, "content": "Go.", "use_reasoning": true})).await;
    let (mut reasoning, mut text) = (String::new(), String::new());
    let complete = loop {
        let message = socket.get().await;
        assert_eq!(message["message_id"], id, "{message}");
        assert!(message["sync_id"].is_u64(), "{message}");
        match message["type"].as_str() {
            Some("Update") => {
                reasoning.push_str(message["delta"]["reasoning"].as_str().unwrap_or_default());
                text.push_str(message["delta"]["content"].as_str().unwrap_or_default());
            }
            Some("Complete") => break message,
            _ => panic!("such a client does not know this: {message}"),
        }
    };
    assert_eq!((reasoning.as_str(), text.as_str(), &complete["finish_reason"]), ("Hm.", "Yes.", &json!("stop")));
    let error = socket.ask(&json!({"type": "Message"})).await;
    assert_eq!((&error["type"], &error["code"]), (&json!("Error"), &json!("invalid_request")));
    // Whoever comes back where nothing is exact is told the whole, to replace what it has.
    let mut late = self::socket(&gateway).await;
    let ahead = json!({"type": "Subscribe", "conversation_id": conversation, "last_sync_id": 1_000_000});
    assert_eq!(late.ask(&ahead).await["verdict"], "unknown");
    let replaced = late.get().await;
    assert_eq!((&replaced["type"], &replaced["replace"]), (&json!("Update"), &json!(true)));
    assert_eq!(replaced["delta"], json!({"content": "Yes.", "reasoning": "Hm."}));
    assert_eq!(late.get().await["type"], "Complete");
}

#[tokio::test]
async fn a_position_that_nobody_gave_out_gets_a_reset() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("Hm.", "Yes."));
    let mut sender = socket(&gateway).await;
    let accepted = sender.ask(&say("Go.")).await;
    sender.until("complete").await;
    let conversation = accepted["conversationId"].as_str().expect("an id");
    let mut tab = Tab::new(gateway.address(), conversation);
    tab.last = 9_999;
    tab.connect(None).await.expect("connected");
    tab.until_ended(1).await.expect("told");
    assert_eq!((tab.inexact, tab.held()), (1, vec![("Hm.".to_owned(), "Yes.".to_owned())]));
    assert_eq!(tab.messages.values().next().expect("a message").resets, 1);
    // A conversation that is not there, and was never: the client has been somewhere else.
    let mut socket = socket(&gateway).await;
    let gone = socket.ask(&json!({"type": "subscribe", "conversationId": new_id(), "lastSyncId": 7})).await;
    assert_eq!((&gone["type"], &gone["code"]), (&json!("error"), &json!("not_found")));
}

#[tokio::test]
async fn a_deleted_conversation_ends_its_subscription() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("", "Yes."));
    let mut socket = socket(&gateway).await;
    let accepted = socket.ask(&say("Go.")).await;
    socket.until("complete").await;
    let conversation = accepted["conversationId"].as_str().expect("an id");
    let delete = crate::support::http::Request::get(format!("/api/conversations/{conversation}")).method("DELETE");
    gateway.send(&delete).await.expect(204);
    let told = socket.until("unsubscribed").await;
    assert_eq!(told["conversationId"], conversation);
    assert_eq!(socket.ask(&json!({"type": "ping"})).await["type"], "pong", "the socket stays open");
}

#[tokio::test]
async fn the_subprotocol_is_named_when_it_is_offered_and_a_plain_request_is_told() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let offer = async |protocols: &str, site: &str| {
        let headers = [("sec-websocket-protocol", protocols), ("sec-fetch-site", site)];
        let (status, head, _) = handshake(gateway.address(), "/ws", &headers).await;
        (status, head.contains("\r\nsec-websocket-protocol: thinkwire.v1\r\n"))
    };
    assert_eq!(offer("other, thinkwire.v1", "same-origin").await, (101, true));
    assert_eq!(offer("other", "same-origin").await, (101, false));
    assert_eq!(offer("thinkwire.v1", "cross-site").await.0, 403);
    // Not every browser says where a page that opens a socket is from, but all say who it is.
    let page = async |origin: &str| handshake(gateway.address(), "/ws", &[("origin", origin)]).await.0;
    assert_eq!(page(&format!("http://{}", gateway.address())).await, 101);
    assert_eq!(page("https://evil.example").await, 403);
    let plain = gateway.get("/ws").await.expect(400).json();
    assert_eq!(plain["error"]["code"], "invalid_request");
}

#[tokio::test]
async fn whoever_leaves_cancels_only_where_that_was_asked_for() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::new().text("Begun.").gate(&Gate::new()).done());
    let mut stays = socket(&gateway).await;
    stays.ask(&say("Go.")).await;
    stays.until("update").await;
    let mut leaves = socket(&gateway).await;
    let mut message = say("Go.");
    message["onDisconnect"] = json!("cancel");
    let accepted = leaves.ask(&message).await;
    leaves.until("update").await;
    // A second reader of that conversation: the first one that leaves is not the last.
    let mut second = Tab::new(gateway.address(), accepted["conversationId"].as_str().expect("an id"));
    second.connect(None).await.expect("connected");
    drop((stays, leaves));
    while second.messages.values().all(|message| message.text.is_empty()) {
        second.step().await.expect("goes on");
    }
    assert!(!upstream.calls()[1].is_closed(), "somebody still reads");
    drop(second);
    upstream.calls()[1].closed().await;
    assert!(!upstream.calls()[0].is_closed(), "nobody asked for that to be cancelled");
}

#[tokio::test]
async fn a_refused_message_is_told_and_costs_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut socket = socket(&gateway).await;
    let refused = socket.ask(&json!({"type": "message", "id": "a", "content": "Go.", "model": "nobody/m"})).await;
    assert_eq!((&refused["code"], &refused["id"]), (&json!("unknown_model"), &json!("a")));
    // A provider's refusal comes after the message was accepted.
    let accepted = socket.ask(&json!({"type": "message", "content": "Go.", "model": "up/none"})).await;
    assert_eq!(accepted["type"], "accepted", "{accepted}");
    let error = socket.until("error").await;
    assert_eq!(error["messageId"], accepted["messageId"]);
    assert!(error["syncId"].is_u64(), "{error}");
    assert!(matches!(socket.ask(&json!({"type": "ping"})).await["type"].as_str(), Some("pong")));
}

#[tokio::test]
async fn the_same_events_come_as_server_sent_events_when_asked_for() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", Chat::answering("Hm.", "Yes."));
    let mut socket = socket(&gateway).await;
    let accepted = socket.ask(&say("Go.")).await;
    let mut over_socket = Vec::new();
    loop {
        let message = socket.get().await;
        over_socket.push(message);
        if over_socket.last().is_some_and(|last| last["type"] == "complete") {
            break;
        }
    }
    let generation = accepted["generationId"].as_str().expect("an id");
    let mut reader = gateway
        .open(&crate::support::http::Request::get(format!("/api/generations/{generation}/events?dialect=sync")))
        .await;
    reader.finish().await;
    let over_http: Vec<Value> = reader.frames.iter().map(|frame| frame.json.clone()).collect();
    // The user's message is the conversation's, not the generation's.
    assert_eq!(over_http, over_socket[1..]);
    let wrong = gateway.get(&format!("/api/generations/{generation}/events?dialect=klingon")).await.expect(400).json();
    assert!(wrong["error"]["message"].as_str().is_some_and(|message| message.contains("klingon")), "{wrong}");
}

#[tokio::test]
async fn a_socket_that_is_cut_goes_on_where_it_was() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let gate = Gate::new();
    let chat = (0..50).fold(Chat::new().reasoning("Hm."), |chat, number| chat.text(&format!("w{number} ")));
    upstream.script("m", chat.gate(&gate).text("end").finish("stop").done());
    let conversation = new_id();
    let mut message = say("Go.");
    message["conversationId"] = json!(conversation);
    let mut tab = Tab::new(gateway.address(), &conversation);
    tab.connect(Some(4_000)).await.expect("connected");
    let mut sender = socket(&gateway).await;
    sender.ask(&message).await;
    let cut = loop {
        if let Err(ended) = tab.step().await {
            break ended;
        }
    };
    assert_eq!(cut, Ended::Cut);
    gate.open();
    tab.connect(None).await.expect("connected");
    tab.until_ended(1).await.expect("ends");
    let expected: String = (0..50).map(|number| format!("w{number} ")).chain(["end".to_owned()]).collect();
    assert_eq!((tab.inexact, tab.held()), (0, vec![("Hm.".to_owned(), expected)]));
}
