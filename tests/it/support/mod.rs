//! What the tests stand on: a scriptable provider, the real gateway as a child process, strict clients on raw sockets,
//! the rules of the wire contract as code, a real PostgreSQL, and a network and a disk that fail on demand.

pub mod browser;
pub mod chat;
pub mod chunked;
pub mod crowd;
pub mod event_stream;
pub mod fold;
pub mod gateway;
pub mod http;
pub mod lock;
pub mod node;
pub mod postgres;
pub mod proxy;
pub mod python;
pub mod recording;
pub mod small_disk;
pub mod sse;
pub mod steps;
pub mod upstream;
pub mod ws;

use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// How long a test waits for something that must happen. Only a test that fails waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `future`, and fails with `what` when it takes longer than [`PATIENCE`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for: {what}"),
    }
}

/// SHA-256 of a text in lower-case hex, as `check` carries it.
pub fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fresh id as a client would make it.
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Repeatable random numbers (SplitMix64), so that a failing run can be run again.
pub struct Rng(u64);

impl Rng {
    /// A generator whose numbers follow from `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 1 to `most`.
    pub const fn up_to(&mut self, most: usize) -> usize {
        1 + (self.next() % most as u64) as usize
    }
}
