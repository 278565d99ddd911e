//! Many WebSockets that are cut at random bytes and come back, and what a crash leaves them.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::chat::Chat;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::ws::{Ended, Socket, Tab};
use crate::support::{Rng, new_id};

const CONVERSATIONS: usize = 50;
const TABS_OF_EACH: usize = 4;
const CUTS: usize = 20;
const DELTAS: usize = 600;
/// All cuts together read less than a whole conversation, so that no tab is done before its last one.
const MOST_BYTES_BETWEEN_CUTS: usize = 4_000;
const SEED: u64 = 20_261_128;

fn long_chat() -> Chat {
    (0..DELTAS).fold(Chat::new(), |chat, number| {
        let chat =
            if number % 3 == 0 { chat.reasoning(&format!("r{number} ")) } else { chat.text(&format!("w{number} ")) };
        if number % 20 == 19 { chat.pause(Duration::from_millis(20)) } else { chat }
    })
}

fn expected() -> (String, String) {
    let pick = |thinks: bool| {
        (0..DELTAS)
            .filter(|number| (number % 3 == 0) == thinks)
            .map(|number| format!("{}{number} ", if thinks { "r" } else { "w" }))
            .collect()
    };
    (pick(true), pick(false))
}

async fn start(gateway: &Gateway, conversation: &str) {
    let mut sender = Socket::open(gateway.address(), "/ws").await;
    let message = json!({"type": "message", "conversationId": conversation, "content": "Go on.", "model": "up/m"});
    let accepted = sender.ask(&message).await;
    assert_eq!(accepted["type"], "accepted", "{accepted}");
}

/// Reads until the connection is cut or nothing more comes; then it is cut at once.
async fn be_cut(tab: &mut Tab, bytes: usize) {
    let mut ended = tab.connect(Some(bytes)).await.err();
    while ended.is_none() {
        ended = tab.step().await.err();
    }
    assert_eq!(ended, Some(Ended::Cut));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_sockets_that_are_cut_lose_nothing_and_double_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    upstream.script("m", long_chat().finish("stop").done());
    let storms = (0..CONVERSATIONS).map(|number| {
        let gateway = &gateway;
        async move {
            let conversation = new_id();
            start(gateway, &conversation).await;
            let tabs = (0..TABS_OF_EACH).map(|place| {
                let seed = SEED + (number * TABS_OF_EACH + place) as u64;
                let mut tab = Tab::new(gateway.address(), &conversation);
                async move {
                    let mut rng = Rng::new(seed);
                    for _ in 0..CUTS {
                        be_cut(&mut tab, rng.up_to(MOST_BYTES_BETWEEN_CUTS)).await;
                    }
                    tab.connect(None).await.expect("connected");
                    tab.until_ended(1).await.expect("ends");
                    tab
                }
            });
            join_all(tabs).await
        }
    });
    let expected = expected();
    for tab in join_all(storms).await.into_iter().flatten() {
        assert_eq!(tab.inexact, 0, "every position was exact");
        // The tab itself has refused numbers that do not rise, and verified the digests.
        assert_eq!(tab.held(), std::slice::from_ref(&expected));
        let message = tab.messages.values().next().expect("a message");
        let check = &message.complete()["check"];
        assert_eq!(check["text"]["sha256"], crate::support::sha256_hex(&message.text));
        assert_eq!(check["reasoning"]["sha256"], crate::support::sha256_hex(&message.reasoning));
        assert_eq!(tab.said, ["Go on."]);
    }
    assert_eq!(upstream.calls().len(), CONVERSATIONS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_crash_nothing_that_was_stored_is_lost_and_the_rest_is_told() {
    const OPEN: usize = 20;
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream).await;
    let long = (0..2_000).fold(Chat::new().reasoning("Hm."), |chat, number| {
        chat.text(&format!("w{number} ")).pause(Duration::from_millis(5))
    });
    upstream.script("m", long.finish("stop").done());
    let mut tabs = Vec::new();
    for number in 0..OPEN {
        let conversation = new_id();
        let mut tab = Tab::new(gateway.address(), &conversation);
        tab.connect(None).await.expect("connected");
        start(&gateway, &conversation).await;
        // Some are cut before the crash, and hear of it only when they come back.
        tabs.push((tab, conversation, number % 4 == 3));
    }
    let read = tabs.iter_mut().map(|(tab, _, leaves)| async move {
        let word = if *leaves { "w50 " } else { "w150 " };
        while !tab.messages.values().any(|message| message.text.contains(word)) {
            tab.step().await.expect("goes on");
        }
    });
    join_all(read).await;
    gateway.kill_and_restart().await;
    for (tab, conversation, _) in &mut tabs {
        let seen = tab.last;
        while tab.step().await.is_ok() {}
        let held = tab.messages.values().next().expect("a message").text.clone();
        tab.move_to(gateway.address());
        tab.connect(None).await.expect("connected");
        tab.until_ended(1).await.expect("ends");
        let message = tab.messages.values().next().expect("one message");
        assert_eq!((tab.messages.len(), tab.said.len()), (1, 1));
        assert_eq!(message.error()["code"], "interrupted");
        assert!(message.resets > 0, "the rest is told by a reset");
        assert!(tab.last > seen);
        // What is held now is what is stored, and no more than a tick and a commit were lost.
        let id = tab.messages.keys().next().expect("an id");
        let stored = gateway.message(conversation, id).await;
        assert_eq!((&stored["content"], &stored["status"]), (&json!(message.text), &json!("error")));
        assert!(held.starts_with(&message.text), "something else was stored than was sent");
        assert!(message.text.contains("w20 "), "what was stored long ago is lost: {:?}", message.text);
    }
}
