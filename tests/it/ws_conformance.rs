//! The stack below the protocols over WebSocket does as RFC 6455 says: it passes the cases of Autobahn's fuzzing client,
//! which `tests/clients/ws_conformance/check.py` plays against an echo route.
//!
//! | section | cases | what |
//! | --- | --- | --- |
//! | 1 | 16 | messages of all sizes, whole and in parts of the transport |
//! | 2 | 11 | pings and pongs |
//! | 3 | 7 | reserved bits |
//! | 4 | 10 | unknown opcodes |
//! | 5 | 20 | fragments, and control frames among them |
//! | 6 | 145 | UTF-8, valid and not, also where it ends too early or is late to show |
//! | 7 | 37 | closing: codes, reasons, what comes after it |
//! | 9 | 54 | limits: messages of up to 16 MiB, in small and large fragments and pieces; thousands of small ones |
//! | 10 | 1 | fragments made by the peer's own stack |
//!
//! Sections 12 and 13 are about compression, which is never agreed on. There is no section 8, nor 11.

use std::process::Output;
use std::time::Duration;

use tokio::time::timeout;

use crate::support::gateway::{Gateway, Setup};
use crate::support::python;

const CHECK: &str = "ws_conformance/check.py";
/// All cases, of which some wait for a second, against a build that is not optimised.
const CHECK_PATIENCE: Duration = Duration::from_secs(300);
/// The largest message of the cases has 16 MiB, and some consist of thousands of messages. A ping of our own, as one that
/// tells how far the client has read, would be an event that no case expects.
const LIMITS: &str = "
[websocket]
max_message_bytes = 16777216
max_messages_per_s = 1000000
message_burst = 1000000
max_unconfirmed_bytes = 1073741824
ping_ms = 600000
";

#[tokio::test]
async fn the_check_tells_right_servers_from_broken_ones() {
    let said = check(&["self-test"]).await;
    assert!(
        said.is_none_or(|said| said.contains("249 right, 15 broken servers, 0 misjudged")),
        "other cases were played"
    );
}

#[tokio::test]
async fn the_stack_below_the_protocols_passes_the_cases_of_autobahn() {
    let gateway = Gateway::launch(Setup::new().sqlite().toml(LIMITS)).await;
    let said = check(&["server", &format!("ws://{}/ws-echo", gateway.address())]).await;
    assert!(said.is_none_or(|said| said.contains("301 cases, 0 failed")), "other cases were played");
}

/// What the check said, which passed; none without Python.
async fn check(arguments: &[&str]) -> Option<String> {
    let venv = python::venv().await?;
    let run = timeout(CHECK_PATIENCE, venv.program(CHECK).args(arguments).output()).await;
    let Output { status, stdout, stderr } = run.expect("the check ends in time").expect("Python runs");
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{status}\n{said}{}", String::from_utf8_lossy(&stderr));
    println!("{said}");
    Some(said)
}
