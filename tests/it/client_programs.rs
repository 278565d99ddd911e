//! Programs written from the wire contract alone, as people write them: none of them uses code of ours.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::chat::Chat;
use crate::support::gateway::{Gateway, Setup};
use crate::support::steps::Gate;
use crate::support::upstream::Upstream;
use crate::support::{new_id, node, python, sha256_hex, within};

/// Runs a program to its end and gives the JSON document that it prints.
async fn printed(mut program: Command) -> Value {
    program.env("NO_PROXY", "127.0.0.1").stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = within("the program ends", program.output()).await.expect("it can be run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}{err}"))
}

async fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::with(upstream, Setup::new().toml("[default]\nmodel = \"up/m\"")).await
}

#[tokio::test]
async fn a_sync_client_that_is_cut_holds_all_of_it() {
    let Some(python) = python::venv().await else { return };
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let (first, rest) = ("The first half. ", "And the second one.");
    upstream.script("m", Chat::new().reasoning("Let me see. ").text(first).text(rest).finish("stop").done());
    let mut program = python.program("sync_client.py");
    program.arg(format!("ws://{}/ws", gateway.address())).arg(new_id()).arg("Go.");
    let held = printed(program).await;
    assert_eq!((&held["reasoning"], &held["text"]), (&json!("Let me see. "), &json!(format!("{first}{rest}"))));
    assert_eq!((&held["said"], &held["verdicts"]), (&json!(["Go."]), &json!(["exact", "exact"])));
    assert_eq!(held["check"]["text"]["sha256"], sha256_hex(&format!("{first}{rest}")));
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn a_client_of_the_other_spelling_understands_all_that_it_is_told() {
    let Some(python) = python::venv().await else { return };
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let tool = Chat::new().reasoning("Hm.").text("Yes.").tool(0, "call_1", "look_up", "{}").finish("tool_calls").done();
    upstream.script("m", tool);
    let mut program = python.program("pascal_client.py");
    program.arg(format!("ws://{}/ws", gateway.address())).arg("Go.");
    let held = printed(program).await;
    assert_eq!((&held["reasoning"], &held["text"]), (&json!("Hm."), &json!("Yes.")));
    assert_eq!(held["finish_reason"], "tool_calls");
    let stored = gateway.messages(held["conversation"].as_str().expect("an id")).await;
    assert_eq!(stored[1]["content"], "Yes.");
}

#[tokio::test]
async fn a_reader_that_splits_at_newlines_gets_everything() {
    let Some(node) = node::node().await else { return };
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let gate = Gate::new();
    gate.open();
    // Longer than a line may be, with what JSON escapes and what has several bytes.
    let long = "a \"line\"\nand é 🦀 ".repeat(500);
    upstream.script("m", Chat::new().reasoning("Hm.\n").text(&long).gate(&gate).text("end").finish("stop").done());
    let mut program = node.program("fetch_reader.mjs");
    program.arg(format!("http://{}/api/generate", gateway.address())).arg("Go.");
    let held = printed(program).await;
    let whole = format!("{long}end");
    assert_eq!((&held["reasoning"], &held["text"]), (&json!("Hm.\n"), &json!(whole)));
    assert_eq!(held["check"]["text"]["sha256"], sha256_hex(&whole));
}
