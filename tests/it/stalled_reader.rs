//! Readers that stop reading while much is said: they cost themselves time, and nobody else anything.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::PATIENCE;
use crate::support::chat::Chat;
use crate::support::fold::Message;
use crate::support::gateway::{Gateway, stream_request};
use crate::support::http::Request;
use crate::support::new_id;
use crate::support::sse::{Frame, Reader};
use crate::support::steps::Step;
use crate::support::upstream::Upstream;

/// How much is said meanwhile: more than the kernel buffers for one connection.
const DELTAS: u32 = 4_000;
/// How long each delta is.
const DELTA_BYTES: usize = 1_500;
/// How many readers stop beside the one that started it all. What the gateway would hold for each of them adds up,
/// while the message itself, which it holds while it is made, counts once.
const STALLED: usize = 20;
/// The receive buffer of a reader that stops, so that it is felt soon.
const SMALL_BUFFER: u32 = 16 * 1024;
/// How much more memory the gateway may take.
const MOST_KIB: u64 = 64 * 1024;
/// How late a healthy reader may be, in a build without optimisation on a busy machine.
const PROMPT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_reading_harms_nobody_and_catches_up() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let since = Instant::now();
    let stall = stall_time();
    upstream.script("fast", fast(since, stall));
    upstream.script("calm", calm(since, stall));
    upstream.script("warm", Chat::answering("Hm.", "Warm."));
    gateway.stream("warm").await.finish().await;
    let before = gateway.resident_kib();

    let generation = new_id();
    let body = json!({"model": "up/fast", "prompt": "Go on.", "generationId": generation});
    let mut starter = gateway.open(&stream_request(&body).receive_buffer(SMALL_BUFFER)).await;
    starter.until_kind("start").await;
    let events = Request::get(format!("/api/generations/{generation}/events"));
    let mut stalled = vec![starter];
    for _ in 0..STALLED {
        let mut reader = gateway.open(&events.clone().receive_buffer(SMALL_BUFFER)).await;
        reader.until_kind("start").await;
        stalled.push(reader);
    }
    let mut healthy = gateway.open(&events).await;
    let mut other = gateway.stream("calm").await;

    let mut peak = before;
    let watching = async {
        loop {
            peak = peak.max(gateway.resident_kib());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = watching => {}
        _ = async { tokio::join!(healthy.finish(), other.finish()) } => {}
    }
    println!("resident memory: {before} KiB before, {peak} KiB at most");
    println!("p99 of a reader of the same generation: {:?}", p99(since, &healthy.frames));
    println!("p99 of a reader of another generation: {:?}", p99(since, &other.frames));
    assert!(peak - before < MOST_KIB, "{} KiB more", peak - before);
    for reader in [&healthy, &other] {
        Message::finished(&reader.frames);
        assert!(p99(since, &reader.frames) < PROMPT, "a healthy reader had to wait");
    }
    futures_util::future::join_all(stalled.iter_mut().map(|late| catch_up(late, &healthy))).await;
}

async fn catch_up(late: &mut Reader, healthy: &Reader) {
    late.finish().await;
    Message::finished(&late.frames);
    assert_eq!(late.numbered(), healthy.numbered(), "a reader that fell behind holds something else");
}

/// How long the readers stop: long by hand, short in the suite.
fn stall_time() -> Duration {
    let millis = std::env::var("THINKWIRE_STALL_MS").ok().and_then(|millis| millis.parse().ok()).unwrap_or(3_000);
    Duration::from_millis(millis).min(PATIENCE - Duration::from_secs(5))
}

/// A few MiB over `time`, with clocks in between.
fn fast(since: Instant, time: Duration) -> Vec<Step> {
    const IN_ONE_GO: u32 = 8;
    let filler = "x".repeat(DELTA_BYTES);
    let mut chat = Chat::new();
    for number in 0..DELTAS {
        if number.is_multiple_of(IN_ONE_GO) {
            chat = chat.step(Step::Clock(since)).pause(time * IN_ONE_GO / DELTAS);
        }
        chat = chat.text(&filler);
    }
    chat.finish("stop").done()
}

/// A clock every 10 ms for `time`.
fn calm(since: Instant, time: Duration) -> Vec<Step> {
    let every = Duration::from_millis(10);
    let mut chat = Chat::new();
    for _ in 0..time.as_millis() / every.as_millis() {
        chat = chat.step(Step::Clock(since)).pause(every);
    }
    chat.finish("stop").done()
}

/// The latency that 99 of 100 clocks stay below, from the provider's write to the reader's read.
fn p99(since: Instant, frames: &[Frame]) -> Duration {
    let mut latencies: Vec<Duration> = frames.iter().filter_map(|frame| latency(since, frame)).collect();
    assert!(latencies.len() > 100, "only {} clocks", latencies.len());
    latencies.sort();
    latencies[latencies.len() * 99 / 100]
}

fn latency(since: Instant, frame: &Frame) -> Option<Duration> {
    let micros = frame.content().strip_prefix('@')?.parse().ok()?;
    Some(frame.at.duration_since(since).saturating_sub(Duration::from_micros(micros)))
}
