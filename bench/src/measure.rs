//! One scenario against one side: load, CPU time, latency, memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::child::Child;
use crate::error::Result;
use crate::load::{self, Outcome, Plan, Progress, Shape};
use crate::params::StreamParams;
use crate::proc::{self, Memory};
use crate::scenario::{Doing, Scenario};
use crate::stream::Api;
use crate::ws::idle;

const POLL: Duration = Duration::from_millis(20);
/// What a gateway still does after the last chunk, such as storing it, is part of its price.
const AFTERMATH: Duration = Duration::from_millis(800);
const WARM_UP_STREAMS: u64 = 20;
const WARM_UP_CHUNKS: u64 = 50;

/// A side that runs and can be asked.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is asked.
    pub api: Api,
    /// Its process; absent when the client asks the upstream itself.
    pub child: Option<Child>,
    /// The server that the gateway stores to, where one was started for it: its time is no foreign work.
    pub database_pid: Option<u32>,
}

/// What one round of one side showed.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// Length of the measured window; in an unpaced scenario the whole load and what a gateway does after it.
    pub window_s: f64,
    /// Chunks that arrived within it.
    pub window_chunks: u64,
    /// CPU time of the whole side within it.
    pub cpu_us: u64,
    /// CPU time of the database's server within it, which is no part of the side's; absent without a server.
    pub database_cpu_us: Option<u64>,
    /// CPU time of the side a chunk; absent without a process of its own.
    pub cpu_us_per_chunk: Option<f64>,
    /// Median of the latencies within the window.
    pub p50_us: f64,
    /// Their 99th percentile.
    pub p99_us: f64,
    /// The largest.
    pub max_us: f64,
    /// Warmed up, before the load.
    pub memory_idle: Memory,
    /// At the end of the window, all streams alive; after the load in an unpaced scenario.
    pub memory_plateau: Memory,
    /// Growth of resident memory a stream or socket; absent in an unpaced scenario, where few streams say little, and in one
    /// whose sockets share a stream.
    pub memory_bytes_per_stream: Option<f64>,
    /// Time of the machine used by others (neither side, upstream nor client), as a share of one core.
    pub foreign_cpu_share: f64,
    /// Stamps received in the whole load; in an idle scenario, pings that were answered.
    pub received: u64,
    /// Stamps that never came.
    pub lost: u64,
    /// Stamps that came twice.
    pub doubled: u64,
    /// Stamps that came after a later one.
    pub disordered: u64,
    /// Streams without a proper end.
    pub unfinished: u64,
    /// The reasons of the first of them.
    pub failures: Vec<String>,
}

/// Runs the scenario once.
pub fn measure(scenario: &Scenario, side: &mut Running, upstream: &mut Child) -> Result<Measurement> {
    warm_up(side)?;
    let pids = match &side.child {
        Some(child) => proc::tree(child.pid())?,
        None => Vec::new(),
    };
    let bench = [std::process::id(), upstream.pid()];
    let memory_idle = proc::memory(&pids)?;

    let progress = Arc::new(Progress::default());
    let database = side.database_pid;
    let sample = || Sample::take(&pids, &bench, database, &progress);
    let whole = sample()?;
    let mut watch = Watch { scenario, progress: &progress, upstream, side: side.child.as_mut() };
    if let Doing::Idle { subscribe } = scenario.doing {
        let plan = scenario.idle_plan(side.address, subscribe);
        let load = start(&progress, move |progress| idle::run(&plan, progress))?;
        let memory_open = watch.all_started().and_then(|()| proc::memory(&pids));
        // Each is asked whether it lives, and then they end.
        progress.window.store(true, Relaxed);
        let (outcome, memory_open) = ended(load, memory_open)?;
        let memory = [memory_idle, memory_open];
        return Ok(Measurement::new(scenario, [whole, sample()?], memory, !pids.is_empty(), outcome));
    }
    progress.window.store(!scenario.is_paced(), Relaxed);
    let plan = scenario.plan(side.address, side.api);
    let load = start(&progress, move |progress| load::run(&plan, progress))?;
    if scenario.is_paced() {
        let plateau = watch.plateau(sample).and_then(|samples| Ok((samples, proc::memory(&pids)?)));
        let (outcome, (samples, memory_plateau)) = ended(load, plateau)?;
        return Ok(Measurement::new(scenario, samples, [memory_idle, memory_plateau], !pids.is_empty(), outcome));
    }
    let (outcome, ()) = ended(load, Ok(()))?;
    thread::sleep(AFTERMATH);
    let memory = [memory_idle, proc::memory(&pids)?];
    Ok(Measurement::new(scenario, [whole, sample()?], memory, !pids.is_empty(), outcome))
}

type Load = thread::JoinHandle<Result<Outcome>>;

/// Waits for the end of a load, also after a failure: it comes within the load's limit, and its report may say why.
fn ended<T>(load: Load, measured: Result<T>) -> Result<(Outcome, T)> {
    let outcome = load.join().map_err(|_| "the load client panicked")??;
    match measured {
        Ok(measured) => Ok((outcome, measured)),
        Err(error) => Err(format!("{error}; {}", outcome.failures.join("; ")).into()),
    }
}

/// Lets the side touch its code and open its pools, so that the load alone is measured.
fn warm_up(side: &Running) -> Result<()> {
    let plan = Plan {
        address: side.address,
        api: side.api,
        shape: Shape::Streams,
        streams: WARM_UP_STREAMS,
        params: StreamParams::new(WARM_UP_CHUNKS, 0),
        ramp: Duration::ZERO,
        limit: Duration::from_secs(20),
    };
    let load = start(&Arc::default(), move |progress| load::run(&plan, progress))?;
    let (outcome, ()) = ended(load, Ok(()))?;
    thread::sleep(AFTERMATH);
    match outcome.faults() {
        0 => Ok(()),
        _ => Err(format!("the first streams failed: {}", outcome.failures.join("; ")).into()),
    }
}

fn start(
    progress: &Arc<Progress>,
    load: impl FnOnce(&Arc<Progress>) -> Result<Outcome> + Send + 'static,
) -> Result<Load> {
    let progress = Arc::clone(progress);
    Ok(thread::Builder::new().name("load".into()).spawn(move || load(&progress))?)
}

/// Looks at a load that runs.
struct Watch<'a> {
    scenario: &'a Scenario,
    progress: &'a Progress,
    upstream: &'a mut Child,
    side: Option<&'a mut Child>,
}

impl Watch<'_> {
    /// Waits until all streams flow, then measures the window; the streams are still alive at its end.
    fn plateau(&mut self, sample: impl Fn() -> Result<Sample>) -> Result<[Sample; 2]> {
        self.all_started()?;
        let begin = sample()?;
        self.progress.window.store(true, Relaxed);
        self.wait(Some(self.scenario.window()))?;
        self.progress.window.store(false, Relaxed);
        Ok([begin, sample()?])
    }

    /// Waits until all streams flow, or all sockets are open, and have settled.
    fn all_started(&mut self) -> Result<()> {
        self.wait(None)?;
        self.wait(Some(Scenario::SETTLE))
    }

    /// For that long; without a limit until all have started. None may end meanwhile.
    fn wait(&mut self, limit: Option<Duration>) -> Result<()> {
        let begin = Instant::now();
        loop {
            self.upstream.check()?;
            self.side.as_mut().map_or(Ok(()), |side| side.check())?;
            let (started, ended) = (self.progress.started.load(Relaxed), self.progress.ended.load(Relaxed));
            if ended > 0 {
                return Err(format!("{ended} streams ended before the window did ({started} had started)").into());
            }
            let over = match limit {
                Some(limit) => begin.elapsed() >= limit,
                None => started == self.scenario.streams,
            };
            if over {
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    chunks: u64,
    cpu_us: u64,
    bench_cpu_us: u64,
    database_cpu_us: Option<u64>,
    machine_cpu_us: u64,
}

impl Sample {
    fn take(side: &[u32], bench: &[u32], database: Option<u32>, progress: &Progress) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            chunks: progress.chunks.load(Relaxed),
            cpu_us: proc::cpu_us(side)?,
            bench_cpu_us: proc::cpu_us(bench)?,
            database_cpu_us: database.map(proc::server_cpu_us).transpose()?,
            machine_cpu_us: proc::machine_cpu_us()?,
        })
    }
}

impl Measurement {
    fn new(
        scenario: &Scenario,
        [begin, end]: [Sample; 2],
        [memory_idle, memory_plateau]: [Memory; 2],
        has_process: bool,
        outcome: Outcome,
    ) -> Self {
        let window_s = (end.at - begin.at).as_secs_f64();
        let window_chunks = end.chunks - begin.chunks;
        let cpu_us = end.cpu_us - begin.cpu_us;
        let database_cpu_us =
            end.database_cpu_us.zip(begin.database_cpu_us).map(|(end, begin)| end.saturating_sub(begin));
        let ours_us = cpu_us + (end.bench_cpu_us - begin.bench_cpu_us) + database_cpu_us.unwrap_or(0);
        let foreign_us = (end.machine_cpu_us - begin.machine_cpu_us).saturating_sub(ours_us);
        let grown_bytes = memory_plateau.rss_bytes.saturating_sub(memory_idle.rss_bytes) as f64;
        Self {
            window_s,
            window_chunks,
            cpu_us,
            database_cpu_us,
            cpu_us_per_chunk: (has_process && window_chunks > 0).then(|| cpu_us as f64 / window_chunks as f64),
            p50_us: outcome.latency.quantile_us(0.5),
            p99_us: outcome.latency.quantile_us(0.99),
            max_us: outcome.latency.max_us(),
            memory_idle,
            memory_plateau,
            memory_bytes_per_stream: (has_process && scenario.has_memory_a_stream())
                .then(|| grown_bytes / scenario.streams as f64),
            foreign_cpu_share: foreign_us as f64 / 1e6 / window_s.max(1e-9),
            received: outcome.received,
            lost: outcome.lost,
            doubled: outcome.doubled,
            disordered: outcome.disordered,
            unfinished: outcome.unfinished,
            failures: outcome.failures,
        }
    }

    /// CPU time of the database's server a chunk.
    pub fn database_cpu_us_per_chunk(&self) -> Option<f64> {
        self.database_cpu_us.map(|cpu_us| cpu_us as f64 / self.window_chunks.max(1) as f64)
    }

    /// Everything that must be zero.
    pub fn faults(&self) -> u64 {
        self.lost + self.doubled + self.disordered + self.unfinished
    }
}
