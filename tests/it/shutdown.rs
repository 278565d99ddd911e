//! Ending in order on a signal.

use std::time::Duration;

use serde_json::json;

use crate::support::chat::Chat;
use crate::support::fold::Message;
use crate::support::gateway::{Gateway, Setup, stream_request};
use crate::support::http::{Ended, Request};
use crate::support::steps::{Gate, Step};
use crate::support::upstream::Upstream;

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut gateway = Gateway::launch(Setup::new()).await;
        gateway.signal(signal).await;
        assert!(gateway.exit().await.success(), "after {signal}");
    }
}

#[tokio::test]
async fn what_runs_too_long_is_ended_and_stored() {
    let upstream = Upstream::start().await;
    for signal in ["TERM", "INT"] {
        let setup = Setup::new().toml("[server]\nshutdown_grace_ms = 300");
        let mut gateway = Gateway::with(&upstream, setup).await;
        upstream.script("m", Chat::new().reasoning("Hm.").text("Half an ans").step(Step::Hang).steps());
        let mut reader = gateway.stream("m").await;
        reader.until_content("text", "Half an ans").await;
        gateway.signal(signal).await;
        let ended = loop {
            if let Err(ended) = reader.next().await {
                break ended;
            }
        };
        assert_eq!(ended, Ended::Clean, "after {signal}");
        assert!(gateway.exit().await.success(), "after {signal}");

        gateway.restart().await;
        let mut replay = gateway.open(&Request::get(reader.events_path())).await;
        replay.finish().await;
        let message = Message::finished(&replay.frames);
        assert_eq!((message.reasoning.as_str(), message.text.as_str()), ("Hm.", "Half an ans"));
        assert_eq!(message.error()["code"], "interrupted");
        let seen = reader.numbered();
        assert_eq!(replay.numbered()[..seen.len()], seen, "a reader saw what was not stored");
        let stored = gateway.messages(reader.headers.expect("x-conversation-id")).await;
        assert_eq!(stored[1]["content"], "Half an ans");
        assert_eq!(stored[1]["status"], "error");
    }
}

#[tokio::test]
async fn what_ends_in_time_is_waited_for() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().toml("[server]\nshutdown_grace_ms = 20000");
    let mut gateway = Gateway::with(&upstream, setup).await;
    let gate = Gate::new();
    upstream.script("m", Chat::new().text("part").gate(&gate).text(" and rest").finish("stop").done());
    let mut reader = gateway.stream("m").await;
    reader.until_content("text", "part").await;
    gateway.signal("TERM").await;
    until_draining(&gateway).await;
    let late = stream_request(&json!({"model": "up/m", "prompt": "Me too"}));
    if let Ok(exchange) = late.send(gateway.address()).await {
        let response = exchange.response().await.expect("a whole answer").expect(503);
        assert_eq!(response.error_code(), "draining");
    }
    gate.open();
    reader.finish().await;
    let message = Message::finished(&reader.frames);
    assert_eq!((message.finish_reason(), message.text.as_str()), ("stop", "part and rest"));
    assert!(gateway.exit().await.success());

    gateway.restart().await;
    let stored = gateway.messages(reader.headers.expect("x-conversation-id")).await;
    assert_eq!(stored[1]["content"], "part and rest");
    assert_eq!(stored[1]["status"], "complete");
}

/// Waits until the gateway says that it takes no new work, or takes no connection.
async fn until_draining(gateway: &Gateway) {
    crate::support::within("the gateway drains", async {
        while let Ok(exchange) = Request::get("/readyz").send(gateway.address()).await {
            if exchange.status != 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
