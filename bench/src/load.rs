//! The load client: opens many streams at once and keeps the books of all of them.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{Context as _, Result};
use crate::params::StreamParams;
use crate::scan::Tally;
use crate::stats::Histogram;
use crate::stream::{Api, Stream};
use crate::ws::fanout;

/// One buffer serves all streams: what is read is looked at before the next read.
const READ_BYTES: usize = 64 * 1024;
const MAX_FAILURES: usize = 5;

/// Who asks for what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Each stream for itself.
    Streams,
    /// One of them, and all read it: over WebSockets.
    Fanout,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who is asked.
    pub address: SocketAddr,
    /// How.
    pub api: Api,
    /// Who asks.
    pub shape: Shape,
    /// Streams at once.
    pub streams: u64,
    /// The shape of each; the phase is set here.
    pub params: StreamParams,
    /// Time over which the streams are opened.
    pub ramp: Duration,
    /// After this the rest is given up and reported.
    pub limit: Duration,
}

/// What another thread may see of a running load, and steer.
#[derive(Debug, Default)]
pub struct Progress {
    /// Stamps found.
    pub chunks: AtomicU64,
    /// Streams with a first stamp.
    pub started: AtomicU64,
    /// Streams that are over, well or badly.
    pub ended: AtomicU64,
    /// Latencies count while this is set.
    pub window: AtomicBool,
}

/// The books of all streams.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Different stamps received.
    pub received: u64,
    /// Stamps that never came.
    pub lost: u64,
    /// Stamps that came twice.
    pub doubled: u64,
    /// Stamps that came after a later one.
    pub disordered: u64,
    /// Streams without a proper end.
    pub unfinished: u64,
    /// Reasons of the first few of them.
    pub failures: Vec<String>,
    /// Latencies within the window.
    pub latency: Histogram,
}

impl Outcome {
    /// Everything that must be zero.
    pub fn faults(&self) -> u64 {
        self.lost + self.doubled + self.disordered + self.unfinished
    }

    /// Enters what became of a socket that was asked whether it lives.
    pub fn enter_answer(&mut self, index: u64, took_ns: Result<u64>) {
        match took_ns {
            Ok(took_ns) => {
                self.received += 1;
                self.latency.record(took_ns);
            }
            Err(error) => self.fail(format!("socket {index}: {error}")),
        }
    }

    fn fail(&mut self, reason: String) {
        self.unfinished += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(reason);
        }
    }

    fn enter(&mut self, index: u64, tally: &Tally, end: Result<()>) {
        self.received += tally.received;
        self.lost += tally.lost();
        self.doubled += tally.doubled;
        self.disordered += tally.disordered;
        let end = match end {
            Ok(()) if tally.foreign > 0 => Err(format!("{} stamps were never sent", tally.foreign).into()),
            end => end,
        };
        if let Err(error) = end {
            self.fail(format!("stream {index}, after {} chunks: {error}", tally.received));
        }
    }
}

/// Runs the plan on this thread.
pub fn run(plan: &Plan, progress: &Arc<Progress>) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let buffer = Rc::new(RefCell::new(vec![0; READ_BYTES]));
    LocalSet::new().block_on(&runtime, async {
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        let stream =
            |params| Stream::new(plan.api, params, Arc::clone(progress), Rc::clone(&outcome), Rc::clone(&buffer));
        match plan.shape {
            Shape::Streams => {
                for index in 0..plan.streams {
                    let mut params = plan.params;
                    // The middle of each stream's share of the interval.
                    params.phase_us = params.every_us * (2 * index + 1) / (2 * plan.streams);
                    let open_at = begin + plan.ramp.mul_f64(index as f64 / plan.streams as f64);
                    tasks.spawn_local(one(index, stream(params), plan.address, open_at, begin + plan.limit));
                }
            }
            Shape::Fanout => fanout::spawn(plan, begin, &mut tasks, || stream(plan.params)),
        }
        while tasks.join_next().await.is_some() {}
    });
    Ok(outcome.take())
}

/// Opens a stream at its moment, and enters what became of it.
pub async fn one(index: u64, mut stream: Stream, address: SocketAddr, open_at: Instant, limit: Instant) {
    sleep_until(open_at).await;
    let end = match timeout_at(limit, stream.exchange(address)).await {
        Ok(end) => end,
        Err(_) => Err("the time is up".into()),
    };
    stream.progress.ended.fetch_add(1, Relaxed);
    stream.outcome.borrow_mut().enter(index, &stream.tally, end);
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;
    use crate::params::Fault;

    fn plan(address: SocketAddr, streams: u64, params: StreamParams) -> Plan {
        let limit = Duration::from_secs(20);
        Plan { address, api: Api::Openai, shape: Shape::Streams, streams, params, ramp: Duration::ZERO, limit }
    }

    fn upstream(patience: Option<Duration>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                crate::upstream::serve(tokio::net::TcpListener::from_std(listener)?, patience).await
            })
        });
        address
    }

    #[test]
    fn the_upstream_fails_where_it_is_asked_to() {
        // A hung stream stays open although idle connections do not.
        let address = upstream(Some(Duration::from_millis(50)));
        let cases = [
            (Fault::Cut, 7, Some("the connection ended early")),
            (Fault::Hang, 7, Some("the time is up")),
            (Fault::Junk, 12, None),
            (Fault::Mute, 0, Some("the time is up")),
            (Fault::Busy, 0, Some("429 Too Many Requests")),
            (Fault::Broken, 0, Some("500 Internal Server Error")),
        ];
        for (fault, received, reason) in cases {
            let params = StreamParams { fault: Some(fault), after: 7, ..StreamParams::new(12, 1000) };
            let plan = Plan { limit: Duration::from_millis(600), ..plan(address, 1, params) };
            let outcome = run(&plan, &Arc::default()).unwrap();
            assert_eq!(outcome.received, received, "{fault:?}");
            match reason {
                Some(reason) => assert!(outcome.failures[0].contains(reason), "{fault:?}: {:?}", outcome.failures),
                None => assert_eq!(outcome.faults(), 0, "{fault:?}: {:?}", outcome.failures),
            }
        }
    }

    #[test]
    fn streams_of_the_upstream_arrive_whole() {
        let address = upstream(None);
        for params in [StreamParams::new(30, 1000), StreamParams { batch: 7, ..StreamParams::new(3000, 0) }] {
            let progress = Arc::new(Progress::default());
            progress.window.store(true, Relaxed);
            let outcome = run(&plan(address, 5, params), &progress).unwrap();
            assert_eq!(outcome.faults(), 0, "{:?}", outcome.failures);
            assert_eq!(outcome.received, 5 * params.chunks);
            assert_eq!(progress.chunks.load(Relaxed), 5 * params.chunks);
            assert_eq!((progress.started.load(Relaxed), progress.ended.load(Relaxed)), (5, 5));
            assert!(outcome.latency.max_us() > 0.0);
        }
    }

    #[test]
    fn a_bad_relay_is_caught() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let body = "#0@1; #2@1; #1@1; #1@1; error";
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked";
            write!(stream, "{head}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).unwrap();
        });
        let outcome = run(&plan(address, 1, StreamParams::new(4, 0)), &Arc::default()).unwrap();
        let Outcome { received, lost, doubled, disordered, unfinished, .. } = outcome;
        assert_eq!((received, lost, doubled, disordered, unfinished), (3, 1, 1, 1, 1));
        assert!(outcome.failures[0].contains("no proper end"), "{:?}", outcome.failures);
    }
}
