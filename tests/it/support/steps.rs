//! What a scripted provider does, step by step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::chunked;

/// One step of an answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends the status line and headers of a chunked response.
    Head(u16, Vec<(String, String)>),
    /// Sends bytes below any framing.
    Bytes(Vec<u8>),
    /// Sends one HTTP chunk.
    Chunk(Vec<u8>),
    /// Sends a piece of the answer that says how many microseconds after that moment it was sent: `@1234`.
    Clock(Instant),
    /// Ends the chunked body; the connection stays open for the next request.
    End,
    /// Waits.
    Sleep(Duration),
    /// Waits until the test lets it go on.
    Wait(Gate),
    /// Sends the same HTTP chunk again and again until the peer closes.
    Forever(Vec<u8>),
    /// Does nothing until the peer closes.
    Hang,
    /// Closes the connection in order (FIN).
    Close,
    /// Resets the connection (RST).
    Reset,
}

/// Holds a scripted provider back until the test lets it go on, once for each permit.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Gate(Arc::new(Semaphore::new(0)))
    }

    /// Lets one waiting step pass, now or later.
    pub fn pass(&self) {
        self.0.add_permits(1);
    }

    /// Lets every step pass from now on.
    pub fn open(&self) {
        self.0.add_permits(1_000_000);
    }

    /// Waits for a permit and uses it up.
    pub async fn wait(&self) {
        self.0.acquire().await.expect("gates are never closed").forget();
    }
}

/// A chunked response's head.
pub fn head(status: u16, content_type: Option<&str>) -> Step {
    Step::Head(status, content_type.map(|kind| ("content-type".to_owned(), kind.to_owned())).into_iter().collect())
}

/// A whole answer that is no stream: a status, headers and a body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Vec<Step> {
    let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    vec![Step::Head(status, headers), Step::Chunk(body.into()), Step::End]
}

/// HTTP chunks of the given sizes, written to the socket many at a time. The receiver's HTTP library still hands them
/// on one by one, so that this is a true test of every split and yet quick.
pub fn split(body: &[u8], mut size: impl FnMut() -> usize) -> Vec<Step> {
    const WRITE_BYTES: usize = 16 * 1024;
    let mut steps = Vec::new();
    let mut raw = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(size().clamp(1, rest.len()));
        chunked::encode(piece, &mut raw);
        rest = more;
        if raw.len() >= WRITE_BYTES || rest.is_empty() {
            steps.push(Step::Bytes(std::mem::take(&mut raw)));
        }
    }
    steps
}
