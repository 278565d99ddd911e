//! The scenarios and their bars.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::load::{Plan, Shape};
use crate::params::StreamParams;
use crate::stream::Api;
use crate::ws::idle;

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
    /// paced100 over WebSockets, beside the same over SSE.
    Wspaced100,
    /// One stream, read by 1,000 WebSockets.
    Wsfanout,
    /// 10,000 WebSockets on which nothing happens.
    Wsidle,
}

impl Name {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 6] =
        [Self::Paced100, Self::Unpaced, Self::Live3000, Self::Wspaced100, Self::Wsfanout, Self::Wsidle];

    /// The name in tables.
    pub fn text(self) -> &'static str {
        match self {
            Self::Paced100 => "paced100",
            Self::Unpaced => "unpaced",
            Self::Live3000 => "live3000",
            Self::Wspaced100 => "wspaced100",
            Self::Wsfanout => "wsfanout",
            Self::Wsidle => "wsidle",
        }
    }
}

/// Sizes of the scenarios; what is absent has a default, and a smaller one with `--quick`.
#[derive(Debug, Args)]
pub struct Sizes {
    /// Streams of paced100 and wspaced100 [default: 100]
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
    /// WebSockets that read the one stream of wsfanout [default: 1000; quick: 200]
    #[arg(long)]
    wsfanout_sockets: Option<u64>,
    /// Interval of its chunks in µs [default: 10000]
    #[arg(long)]
    wsfanout_every_us: Option<u64>,
    /// Length of its measured window in seconds [default: 10; quick: 3]
    #[arg(long)]
    wsfanout_window_s: Option<u64>,
    /// WebSockets of wsidle; as many as the limit of open files lets be, where that is fewer [default: 10000; quick: 2000]
    #[arg(long)]
    wsidle_sockets: Option<u64>,
    /// Have each of them subscribe to a conversation of its own
    #[arg(long)]
    wsidle_subscribe: bool,
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
    /// p99 latency, in µs.
    pub p99_us: Option<f64>,
    /// CPU time a chunk over WebSockets, as a multiple of that over SSE.
    pub sse_ratio: Option<f64>,
    /// Memory a stream, in bytes.
    pub memory_bytes_per_stream: Option<f64>,
}

impl Bars {
    /// No bar.
    pub const NONE: Self = Self {
        cpu_ratio: None,
        cpu_us_per_chunk: None,
        p99_over_us: None,
        p99_us: None,
        sse_ratio: None,
        memory_bytes_per_stream: None,
    };
}

/// What is done in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// Streams, by each side in its own way.
    Streams,
    /// The same over SSE and over WebSockets; only gateways have both.
    StreamsBothWays,
    /// One stream that many WebSockets read.
    Fanout,
    /// WebSockets on which nothing happens; with a subscription each, or without.
    Idle { subscribe: bool },
}

/// One scenario with its sizes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What is done.
    pub doing: Doing,
    /// Streams at once, or sockets.
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
    /// Open files of each process that are not streams.
    pub const SPARE_FILES: u64 = 256;
    /// From the first chunk of the last stream to the window.
    pub const SETTLE: Duration = Duration::from_secs(1);
    /// Streams go on after the window, so that memory is read while all of them live and a slow start is forgiven.
    const SLACK: Duration = Duration::from_secs(3);
    /// Beyond the expected time.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A scenario from the flags.
    pub fn new(name: Name, sizes: &Sizes, quick: bool) -> Self {
        let pick = |flag: Option<u64>, full: u64, small: u64| flag.unwrap_or(if quick { small } else { full });
        let relative = |over_us| Bars { cpu_ratio: Some(1.3), p99_over_us: Some(over_us), ..Bars::NONE };
        let base = Self {
            name: name.text(),
            doing: Doing::Streams,
            streams: 0,
            every_us: 0,
            window_s: 0,
            unpaced_chunks: 0,
            batch: 1,
            bars: Bars::NONE,
        };
        match name {
            Name::Paced100 | Name::Wspaced100 => Self {
                streams: pick(sizes.paced_streams, 100, 100).max(1),
                every_us: pick(sizes.paced_every_us, 10_000, 10_000).max(1),
                window_s: pick(sizes.paced_window_s, 10, 3).max(1),
                ..match name {
                    Name::Wspaced100 => Self {
                        doing: Doing::StreamsBothWays,
                        bars: Bars { sse_ratio: Some(1.2), ..Bars::NONE },
                        ..base
                    },
                    _ => Self { bars: relative(500.0), ..base },
                }
            },
            Name::Unpaced => Self {
                streams: pick(sizes.unpaced_streams, 20, 20).max(1),
                unpaced_chunks: pick(sizes.unpaced_chunks, 20_000, 5_000).max(1),
                batch: pick(sizes.unpaced_batch, 1, 1).max(1),
                bars: Bars { cpu_us_per_chunk: Some(5.0), ..Bars::NONE },
                ..base
            },
            Name::Live3000 => Self {
                streams: pick(sizes.live_streams, 3000, 1000).max(1),
                every_us: pick(sizes.live_every_us, 100_000, 100_000).max(1),
                window_s: pick(sizes.live_window_s, 15, 4).max(1),
                bars: Bars { memory_bytes_per_stream: Some(32.0 * 1024.0), ..relative(2000.0) },
                ..base
            },
            Name::Wsfanout => Self {
                doing: Doing::Fanout,
                streams: pick(sizes.wsfanout_sockets, 1000, 200).max(1),
                every_us: pick(sizes.wsfanout_every_us, 10_000, 10_000).max(1),
                window_s: pick(sizes.wsfanout_window_s, 10, 3).max(1),
                bars: Bars { p99_us: Some(5500.0), ..Bars::NONE },
                ..base
            },
            Name::Wsidle => Self {
                doing: Doing::Idle { subscribe: sizes.wsidle_subscribe },
                streams: pick(sizes.wsidle_sockets, 10_000, 2000).max(1),
                bars: Bars { memory_bytes_per_stream: Some(12.0 * 1024.0), ..Bars::NONE },
                ..base
            },
        }
    }

    /// Open files that one process needs at most: a relay has two for each stream, one for each socket.
    pub fn open_files(&self) -> u64 {
        let of_streams = match self.doing {
            Doing::Streams | Doing::StreamsBothWays => self.streams * 2,
            Doing::Fanout | Doing::Idle { .. } => self.streams,
        };
        of_streams + Self::SPARE_FILES
    }

    /// Whether chunks come at intervals.
    pub fn is_paced(&self) -> bool {
        self.every_us > 0
    }

    /// Whether its memory is that of its streams: few unpaced ones say little, and readers of one stream share it.
    pub fn has_memory_a_stream(&self) -> bool {
        match self.doing {
            Doing::Streams | Doing::StreamsBothWays => self.is_paced(),
            Doing::Fanout | Doing::Idle { .. } => true,
        }
    }

    /// The length of the measured window.
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.window_s)
    }

    fn ramp(&self) -> Duration {
        if self.is_paced() || matches!(self.doing, Doing::Idle { .. }) {
            Duration::from_secs_f64(self.streams as f64 / Self::OPENED_PER_S)
        } else {
            Duration::ZERO
        }
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
        let shape = if self.doing == Doing::Fanout { Shape::Fanout } else { Shape::Streams };
        Plan { address, api, shape, streams: self.streams, params, ramp, limit: expected + Self::PATIENCE }
    }

    /// The sockets of an idle scenario.
    pub fn idle_plan(&self, address: SocketAddr, subscribe: bool) -> idle::Plan {
        let ramp = self.ramp();
        idle::Plan { address, sockets: self.streams, subscribe, ramp, limit: ramp * 2 + Self::SETTLE + Self::PATIENCE }
    }
}
