//! Examples over a WebSocket: blocks marked `websocket PATH`, whose lines begin with `>` for what the client sends and `<`
//! for what comes.

use serde_json::Value;

use super::pattern::{self, Keys, Known};
use crate::support::gateway::Gateway;
use crate::support::ws::Socket;

/// One socket, from its opening on.
pub struct Talk {
    /// Where the block begins, for messages.
    pub line: usize,
    /// The path of the handshake.
    pub path: String,
    lines: Vec<Line>,
}

enum Line {
    Send(String),
    Expect(String),
    /// Any number of messages, none included.
    Anything,
}

impl Talk {
    /// Reads a block.
    pub fn parse(line: usize, path: &str, text: &str) -> Self {
        let lines = text.lines().map(|line| match line.split_once(' ') {
            Some((">", message)) => Line::Send(message.to_owned()),
            Some(("<", "...")) => Line::Anything,
            Some(("<", message)) => Line::Expect(message.to_owned()),
            _ => panic!("neither sent nor received: {line:?}"),
        });
        Talk { line, path: path.to_owned(), lines: lines.collect() }
    }

    /// Has the talk with a real server.
    pub async fn hold(&self, gateway: &Gateway, known: &mut Known) -> Result<(), String> {
        let mut socket = Socket::open(gateway.address(), &known.fill_in(&self.path)).await;
        let mut may_skip = false;
        for line in &self.lines {
            match line {
                Line::Send(message) => {
                    let message = known.fill_in(message);
                    let message = serde_json::from_str(&message).map_err(|error| format!("{error}: {message}"))?;
                    socket.send(&message).await;
                }
                Line::Anything => may_skip = true,
                Line::Expect(wanted) => {
                    expect(&mut socket, &pattern::parse(wanted)?, may_skip, known).await?;
                    may_skip = false;
                }
            }
        }
        Ok(())
    }
}

async fn expect(socket: &mut Socket, wanted: &Value, may_skip: bool, known: &mut Known) -> Result<(), String> {
    loop {
        let message = socket.next().await.map_err(|ended| format!("{ended:?} instead of {wanted}"))?;
        match pattern::value(wanted, &message, Keys::Exact, known) {
            Ok(()) => return Ok(()),
            // The end of a message is where skipping must end, or it would go on in vain.
            Err(difference) if !may_skip || message["type"] == wanted["type"] && message["type"] != "update" => {
                return Err(format!("{difference}\nin {message}"));
            }
            Err(_) => {}
        }
    }
}
