//! The soak: the gateway under churn, and whether memory and resources stay flat.

mod acts;
mod book;
mod client;
mod frames;
mod load;
mod report;
pub mod rng;
mod sample;
mod trend;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;

use self::load::{Plan, Progress, Totals};
use self::report::{Moments, Report, Soak};
use self::sample::{Sample, Sampler};
use crate::child::Child;
use crate::error::{Context as _, Result};
use crate::gateway::Gateway;
use crate::store::{Kind, StoreArgs, Stores};
use crate::stream::Api;
use crate::temp::TempDir;
use crate::{load as relay, params, sys, upstream};

/// Short deadlines, so that a provider's silence ends within the soak; a comment now and then.
const SETTINGS: &str = "
[stream]
heartbeat_ms = 1000
first_byte_timeout_ms = 4000
silence_timeout_ms = 4000
";
/// Connections to the provider that nobody uses end soon, as a provider ends them; those left over are no leak.
const UPSTREAM_FLAGS: [&str; 2] = ["--idle-ms", "2000"];
const EVERY: Duration = Duration::from_secs(1);
/// From the one request before the load to it: the connections of that request are gone by then.
const QUIET: Duration = Duration::from_secs(8);
/// Beyond the longest client, from the end of the load to that of its last client.
const END_LIMIT: Duration = Duration::from_secs(150);
/// A client takes a few sockets, here and in the gateway.
const FILES_A_CLIENT: u64 = 8;
const SPARE_FILES: u64 = 256;

/// Flags of `thinkwire-bench soak`.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// The gateway's binary
    #[arg(long)]
    thinkwire: PathBuf,
    /// Workers of the gateway
    #[arg(long, default_value_t = 1)]
    workers: u32,
    #[command(flatten)]
    store: StoreArgs,
    /// How long the load goes on, the warm-up included
    #[arg(long, default_value_t = 600, value_parser = RangedU64ValueParser::<u64>::new().range(10..=604_800))]
    duration_s: u64,
    /// What of it is not judged [default: 60, at most a third]
    #[arg(long)]
    warm_up_s: Option<u64>,
    /// Time between the end of the load and the last look
    #[arg(long, default_value_t = 15, value_parser = RangedU64ValueParser::<u64>::new().range(5..=3600))]
    settle_s: u64,
    /// Clients at once, each with a generation of its own
    #[arg(long, default_value_t = 100, value_parser = RangedU64ValueParser::<u64>::new().range(1..=2000))]
    streams: u64,
    /// Conversations that stay before the oldest is deleted
    #[arg(long, default_value_t = 200, value_parser = RangedU64ValueParser::<u64>::new().range(1..=100_000))]
    kept: u64,
    /// Repeats the clients' choices [default: a new one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Growth of resident memory that counts as flat [default: 1 % a minute, or 1024 where that is more]
    #[arg(long, value_name = "KIB")]
    max_slope_kib_per_min: Option<f64>,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the soak on each database; the exit status is 1 where something is not flat, or was lost or doubled.
pub fn run(args: &SoakArgs) -> Result<ExitCode> {
    let open_files = sys::raise_open_files().context("raising the limit of open files")?;
    let needed = args.streams * FILES_A_CLIENT + SPARE_FILES;
    if needed > open_files {
        return Err(format!("{} clients need {needed} open files, the hard limit is {open_files}", args.streams).into());
    }
    let program = args.thinkwire.canonicalize().context(format!("finding {}", args.thinkwire.display()))?;
    let postgres = args.store.postgres_version()?;
    let seed = args.seed.unwrap_or_else(sys::monotonic_ns);
    let temp = TempDir::new()?;
    let mut stores = Stores::start(&args.store, temp.path())?;
    let mut soaks = Vec::new();
    for kind in args.store.kinds() {
        let dir = temp.path().join(format!("soak-{}", kind.text()));
        fs::create_dir(&dir).context(format!("creating {}", dir.display()))?;
        soaks.push(one(args, &program, kind, seed, &mut stores, &dir).context(format!("soak on {}", kind.text()))?);
    }
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let &SoakArgs { workers, streams, .. } = args;
    let report = Report { version: 1, cores, workers, streams, seed, postgres, soaks };
    print!("{}", report::render(&report));
    if let Some(path) = &args.json {
        let mut json = serde_json::to_string_pretty(&report).context("writing JSON")?;
        json.push('\n');
        fs::write(path, json).context(format!("writing {}", path.display()))?;
    }
    Ok(if report.soaks.iter().all(Soak::held) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One gateway from its start to its end.
fn one(args: &SoakArgs, program: &Path, kind: Kind, seed: u64, stores: &mut Stores, dir: &Path) -> Result<Soak> {
    let storage = stores.open(kind, dir)?;
    let (mut upstream, upstream_address) = upstream::start(dir, &UPSTREAM_FLAGS)?;
    let store_url = storage.url.clone();
    let gateway = Gateway { program: program.to_owned(), workers: args.workers, store_url, settings: SETTINGS };
    let (mut gateway, address) = gateway.start(upstream_address, dir)?;
    warm_up(address)?;
    thread::sleep(QUIET);

    let mut watch = Watch {
        sampler: Sampler::new(gateway.pid(), address, &storage.url)?,
        children: [&mut gateway, &mut upstream],
        progress: Arc::default(),
        samples: Vec::new(),
        begin: Instant::now() + EVERY * 3,
    };
    watch.until(Duration::ZERO)?;
    let plan = Plan { address, streams: args.streams, kept: args.kept, seed };
    let load = {
        let progress = Arc::clone(&watch.progress);
        thread::Builder::new().name("load".into()).spawn(move || load::run(&plan, &progress))?
    };
    let (warm_s, end_s) = (warm_up_s(args), args.duration_s as f64);
    let name = kind.text();
    eprintln!("soak on {name}: {} clients for {} s, seed {seed}", args.streams, args.duration_s);
    let ran = watch.until(Duration::from_secs(args.duration_s));
    watch.progress.stop.store(true, Relaxed);
    ran?;
    let totals = watch.end(load)?;
    eprintln!("soak on {name}: the load has ended; {} s to settle", args.settle_s);
    let settled = watch.begin.elapsed() + Duration::from_secs(args.settle_s);
    watch.until(settled)?;
    let samples = watch.samples;
    drop(gateway);
    stores.close(&storage)?;
    let max_slope_bytes = args.max_slope_kib_per_min.map(|kib| kib * 1024.0);
    Ok(report::soak(name, samples, totals, Moments { warm_s, end_s }, max_slope_bytes))
}

fn warm_up_s(args: &SoakArgs) -> f64 {
    args.warm_up_s.unwrap_or(60).min(args.duration_s / 3) as f64
}

/// One request, so that what every first request leaves behind is there at the start.
fn warm_up(address: SocketAddr) -> Result<()> {
    let plan = relay::Plan {
        address,
        api: Api::Generate,
        shape: relay::Shape::Streams,
        streams: 1,
        params: params::StreamParams::new(50, 1000),
        ramp: Duration::ZERO,
        limit: Duration::from_secs(20),
    };
    let outcome = relay::run(&plan, &Arc::default())?;
    match outcome.faults() {
        0 => Ok(()),
        _ => Err(format!("the first stream failed: {}", outcome.failures.join("; ")).into()),
    }
}

/// Looks at the gateway every second.
struct Watch<'a> {
    sampler: Sampler,
    children: [&'a mut Child; 2],
    progress: Arc<Progress>,
    samples: Vec<Sample>,
    /// The beginning of the load.
    begin: Instant,
}

impl Watch<'_> {
    /// Takes samples until so long after the beginning.
    fn until(&mut self, end: Duration) -> Result<()> {
        loop {
            self.sample()?;
            let next = Instant::now() + EVERY;
            if next > self.begin + end {
                return Ok(());
            }
            thread::sleep(next - Instant::now());
        }
    }

    /// Takes samples until the last client has ended.
    fn end(&mut self, load: thread::JoinHandle<Result<Totals>>) -> Result<Totals> {
        let limit = Instant::now() + END_LIMIT;
        while !load.is_finished() {
            if Instant::now() > limit {
                return Err("the clients do not end".into());
            }
            thread::sleep(EVERY);
            self.sample()?;
        }
        load.join().map_err(|_| "the load client panicked")?
    }

    fn sample(&mut self) -> Result<()> {
        for child in &mut self.children {
            child.check()?;
        }
        let now = Instant::now();
        let at_s = match now.checked_duration_since(self.begin) {
            Some(passed) => passed.as_secs_f64(),
            None => -(self.begin - now).as_secs_f64(),
        };
        let sample = self.sampler.take(at_s, self.progress.active.load(Relaxed))?;
        self.samples.push(sample);
        Ok(())
    }
}
