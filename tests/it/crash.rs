//! `kill -9` in the middle of running generations, and a new process on the same store.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::chat::Chat;
use crate::support::fold::Message;
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::sse::{Frame, Reader};
use crate::support::upstream::Upstream;

const RUNNING: usize = 5;
const FINISHED: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_survives_and_every_message_ends_once() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    upstream.script("short", Chat::answering("Hm.", "A short answer."));
    let long = (0..1_000).fold(Chat::new().reasoning("Hm."), |chat, number| {
        chat.text(&format!("w{number} ")).pause(Duration::from_millis(10))
    });
    upstream.script("long", long.finish("stop").done());

    let mut finished = Vec::new();
    for _ in 0..FINISHED {
        let mut reader = gateway.stream("short").await;
        reader.finish().await;
        finished.push(reader);
    }
    let mut running = join_all((0..RUNNING).map(|_| gateway.stream("long"))).await;
    // Far more than the recorder's longest tick has gone by when this word comes.
    join_all(running.iter_mut().map(|reader| reader.until_content("text", "w150 "))).await;
    gateway.kill_and_restart().await;

    for reader in &mut running {
        // What was still on its way counts as seen.
        while reader.next().await.is_ok() {}
        reader.move_to(gateway.address());
        check_interrupted(&gateway, reader).await;
    }
    for reader in &finished {
        let mut replay = gateway.open(&Request::get(reader.events_path())).await;
        replay.finish().await;
        assert_eq!(replay.numbered(), reader.numbered(), "a finished generation is replayed as it was");
    }

    // Another crash adds nothing to what has ended.
    let before = join_all(running.iter().map(|reader| replay(&gateway, reader))).await;
    gateway.kill_and_restart().await;
    let after = join_all(running.iter().map(|reader| replay(&gateway, reader))).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.numbered(), after.numbered());
    }
}

async fn replay(gateway: &Gateway, reader: &Reader) -> Reader {
    let mut replay = gateway.open(&Request::get(reader.events_path())).await;
    replay.finish().await;
    replay
}

/// Checks all views of one interrupted generation, and that its conversation goes on.
async fn check_interrupted(gateway: &Gateway, reader: &mut Reader) {
    let last_seen = reader.last_id.expect("a number");
    let replay = replay(gateway, reader).await;
    let kinds = replay.kinds();
    assert_eq!(kinds[kinds.len() - 2..], ["reset", "error"], "{kinds:?}");
    let message = Message::finished(&replay.frames);
    assert_eq!(message.error()["code"], "interrupted");
    assert_eq!(message.error()["retryable"], true);
    assert_eq!(message.resets, 1);

    let numbered = replay.numbered();
    let prefix = &numbered[..numbered.len() - 2];
    assert_eq!(prefix, &reader.numbered()[..prefix.len()], "what was stored is not what was sent");
    let prefix = Message::so_far(&replay.frames[..replay.frames.len() - 2]);
    assert!(prefix.text.starts_with("w0 w1 "), "nothing was stored: {:?}", prefix.text);
    assert_eq!((&prefix.text, &prefix.reasoning), (&message.text, &message.reasoning));
    for (id, data) in &numbered[numbered.len() - 2..] {
        assert!(*id > last_seen, "number {id} may have been used before: {data}");
    }

    let start = message.start.as_ref().expect("a start");
    let conversation = start["conversationId"].as_str().expect("an id");
    let mut whole = gateway.open(&Request::get(format!("/api/conversations/{conversation}/events"))).await;
    whole.until("the end", Frame::is_terminal).await;
    assert_eq!(whole.numbered()[0].0, 1, "the user's message has gone");
    let numbers = |reader: &Reader| reader.numbered().iter().map(|(id, _)| *id).collect::<Vec<_>>();
    assert_eq!(numbers(&whole)[1..], numbers(&replay), "the conversation's reader sees something else");

    reader.resume().await;
    reader.finish().await;
    // The reader itself refuses a number that does not rise.
    let seen = Message::finished(&reader.frames);
    assert_eq!(seen.error()["code"], "interrupted");
    assert_eq!(seen.text, message.text);

    let stored = gateway.message(conversation, start["messageId"].as_str().expect("an id")).await;
    assert_eq!(stored["status"], "error");
    assert_eq!(stored["content"], message.text);
    let status = gateway.generation_status(start["generationId"].as_str().expect("an id")).await;
    assert_eq!(status, "error");

    let body = json!({"model": "up/short", "prompt": "And now?", "conversationId": conversation});
    let mut next = gateway.generate(&body).await;
    next.finish().await;
    assert_eq!(Message::finished(&next.frames).text, "A short answer.");
    let first = next.numbered()[0].0;
    assert!(first > replay.last_id.expect("a number"), "number {first} is used twice");
}
