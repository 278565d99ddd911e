//! The scenarios and their bars.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::load::Plan;
use crate::params::StreamParams;
use crate::stream::Api;

/// The names, as given on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Name {
    /// 100 streams, a chunk every 10 ms.
    Paced100,
    /// Few long streams, as fast as they go.
    Unpaced,
    /// 3,000 live streams at 10 chunks a second each.
    Live3000,
}

impl Name {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Paced100, Self::Unpaced, Self::Live3000];

    /// The name in tables.
    pub fn text(self) -> &'static str {
        match self {
            Self::Paced100 => "paced100",
            Self::Unpaced => "unpaced",
            Self::Live3000 => "live3000",
        }
    }
}

/// Sizes of the scenarios; what is absent has a default, and a smaller one with `--quick`.
#[derive(Debug, Args)]
pub struct Sizes {
    /// Streams of paced100 [default: 100]
    #[arg(long)]
    paced_streams: Option<u64>,
    /// Interval of its chunks in µs [default: 10000]
    #[arg(long)]
    paced_every_us: Option<u64>,
    /// Length of its measured window in seconds [default: 10; quick: 3]
    #[arg(long)]
    paced_window_s: Option<u64>,
    /// Streams of unpaced [default: 20]
    #[arg(long)]
    unpaced_streams: Option<u64>,
    /// Chunks of each of them [default: 20000; quick: 5000]
    #[arg(long)]
    unpaced_chunks: Option<u64>,
    /// Chunks that the upstream puts into one write [default: 1]
    #[arg(long)]
    unpaced_batch: Option<u64>,
    /// Streams of live3000 [default: 3000; quick: 1000]
    #[arg(long)]
    live_streams: Option<u64>,
    /// Interval of its chunks in µs [default: 100000]
    #[arg(long)]
    live_every_us: Option<u64>,
    /// Length of its measured window in seconds [default: 15; quick: 4]
    #[arg(long)]
    live_window_s: Option<u64>,
}

/// What must hold beside nginx.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bars {
    /// CPU time a chunk, as a multiple of nginx's.
    pub cpu_ratio: Option<f64>,
    /// CPU time a chunk, in µs.
    pub cpu_us_per_chunk: Option<f64>,
    /// p99 latency above nginx's, in µs.
    pub p99_over_us: Option<f64>,
    /// Memory a stream, in bytes.
    pub memory_bytes_per_stream: Option<f64>,
}

/// One scenario with its sizes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Streams at once.
    pub streams: u64,
    /// Time between a stream's chunks; 0 is unpaced.
    pub every_us: u64,
    /// Measured window of a paced scenario; an unpaced one is measured as a whole.
    pub window_s: u64,
    /// Chunks a stream of an unpaced scenario; a paced one follows from its times.
    pub unpaced_chunks: u64,
    /// Chunks a write of the upstream.
    pub batch: u64,
    /// Its bars.
    pub bars: Bars,
}

impl Scenario {
    /// Streams opened a second: fast, but no stampede.
    const OPENED_PER_S: f64 = 1000.0;
    /// From the first chunk of the last stream to the window.
    pub const SETTLE: Duration = Duration::from_secs(1);
    /// Streams go on after the window, so that memory is read while all of them live and a slow start is forgiven.
    const SLACK: Duration = Duration::from_secs(3);
    /// Beyond the expected time.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A scenario from the flags.
    pub fn new(name: Name, sizes: &Sizes, quick: bool) -> Self {
        let pick = |flag: Option<u64>, full: u64, small: u64| flag.unwrap_or(if quick { small } else { full });
        let relative = |over_us| Bars {
            cpu_ratio: Some(1.3),
            p99_over_us: Some(over_us),
            cpu_us_per_chunk: None,
            memory_bytes_per_stream: None,
        };
        let base = Self {
            name: name.text(),
            streams: 0,
            every_us: 0,
            window_s: 0,
            unpaced_chunks: 0,
            batch: 1,
            bars: relative(0.0),
        };
        match name {
            Name::Paced100 => Self {
                streams: pick(sizes.paced_streams, 100, 100).max(1),
                every_us: pick(sizes.paced_every_us, 10_000, 10_000).max(1),
                window_s: pick(sizes.paced_window_s, 10, 3).max(1),
                bars: relative(500.0),
                ..base
            },
            Name::Unpaced => Self {
                streams: pick(sizes.unpaced_streams, 20, 20).max(1),
                unpaced_chunks: pick(sizes.unpaced_chunks, 20_000, 5_000).max(1),
                batch: pick(sizes.unpaced_batch, 1, 1).max(1),
                bars: Bars { cpu_ratio: None, p99_over_us: None, cpu_us_per_chunk: Some(5.0), ..relative(0.0) },
                ..base
            },
            Name::Live3000 => Self {
                streams: pick(sizes.live_streams, 3000, 1000).max(1),
                every_us: pick(sizes.live_every_us, 100_000, 100_000).max(1),
                window_s: pick(sizes.live_window_s, 15, 4).max(1),
                bars: Bars { memory_bytes_per_stream: Some(32.0 * 1024.0), ..relative(2000.0) },
                ..base
            },
        }
    }

    /// Whether chunks come at intervals.
    pub fn is_paced(&self) -> bool {
        self.every_us > 0
    }

    /// The length of the measured window.
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.window_s)
    }

    fn ramp(&self) -> Duration {
        if self.is_paced() { Duration::from_secs_f64(self.streams as f64 / Self::OPENED_PER_S) } else { Duration::ZERO }
    }

    /// The load that makes this scenario against an address.
    pub fn plan(&self, address: SocketAddr, api: Api) -> Plan {
        let ramp = self.ramp();
        // A slow starter gets as long again as the ramp itself.
        let expected = ramp * 2 + Self::SETTLE + self.window() + Self::SLACK;
        let chunks = match self.is_paced() {
            true => (expected.as_micros() as u64).div_ceil(self.every_us),
            false => self.unpaced_chunks,
        };
        let params = StreamParams { batch: self.batch, ..StreamParams::new(chunks, self.every_us) };
        Plan { address, api, streams: self.streams, params, ramp, limit: expected + Self::PATIENCE }
    }
}
