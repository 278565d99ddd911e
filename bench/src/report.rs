//! The result of a whole run: medians over rounds, and bars held or missed.

use serde::Serialize;

use crate::measure::Measurement;
use crate::scenario::Scenario;
use crate::stats::Spread;

/// Everything that a run found, as written to the JSON file.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this form.
    pub version: u32,
    /// What ran where.
    pub setup: Setup,
    /// One entry a scenario.
    pub scenarios: Vec<ScenarioReport>,
}

/// What ran where.
#[derive(Debug, Serialize)]
pub struct Setup {
    /// Cores that this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// nginx's version.
    pub nginx: Option<String>,
    /// The gateway's settings.
    pub thinkwire: Option<GatewaySetup>,
    /// Rounds of each scenario.
    pub rounds: u32,
    /// Whether the small sizes were used.
    pub quick: bool,
    /// Load average of the last minute when the run began.
    pub load_average: String,
}

/// Settings of the gateway.
#[derive(Debug, Serialize)]
pub struct GatewaySetup {
    /// `server.workers`.
    pub workers: u32,
    /// The kind of database; an address may hold a password.
    pub store: String,
}

/// One scenario, all sides and rounds.
#[derive(Debug, Serialize)]
pub struct ScenarioReport {
    /// Its sizes and bars.
    pub scenario: Scenario,
    /// One entry a side.
    pub sides: Vec<SideReport>,
    /// What the candidate held and missed.
    pub verdicts: Vec<Verdict>,
}

/// One side of one scenario.
#[derive(Debug, Serialize)]
pub struct SideReport {
    /// `nginx`, `thinkwire` or `direct`.
    pub side: &'static str,
    /// CPU time of the whole side a chunk.
    pub cpu_us_per_chunk: Option<Spread>,
    /// Median latency.
    pub p50_us: Option<Spread>,
    /// 99th percentile of the latency.
    pub p99_us: Option<Spread>,
    /// Growth of resident memory a stream.
    pub memory_bytes_per_stream: Option<Spread>,
    /// Every round as it was.
    pub rounds: Vec<Measurement>,
}

impl SideReport {
    /// Sums up the rounds of a side.
    pub fn new(side: &'static str, rounds: Vec<Measurement>) -> Self {
        Self {
            side,
            cpu_us_per_chunk: Spread::of(rounds.iter().filter_map(|round| round.cpu_us_per_chunk)),
            p50_us: Spread::of(rounds.iter().map(|round| round.p50_us)),
            p99_us: Spread::of(rounds.iter().map(|round| round.p99_us)),
            memory_bytes_per_stream: Spread::of(rounds.iter().filter_map(|round| round.memory_bytes_per_stream)),
            rounds,
        }
    }
}

/// One bar.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// What was to hold.
    pub bar: String,
    /// What was measured, in the same unit.
    pub measured: f64,
    /// The largest value that holds.
    pub limit: f64,
    /// Whether it held.
    pub held: bool,
}

impl Verdict {
    fn new(bar: String, measured: f64, limit: f64) -> Self {
        Self { bar, measured, limit, held: measured <= limit }
    }
}

/// Compares the candidate with the yardstick; bars that lack a figure are left out.
pub fn verdicts(scenario: &Scenario, sides: &[SideReport]) -> Vec<Verdict> {
    let side = |name| sides.iter().find(|side| side.side == name);
    let Some(candidate) = side("thinkwire") else { return Vec::new() };
    let yardstick = side("nginx");
    let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
    let (cpu, p99) = (median(candidate.cpu_us_per_chunk), median(candidate.p99_us));
    let nginx_cpu = yardstick.and_then(|side| median(side.cpu_us_per_chunk)).filter(|cpu| *cpu > 0.0);
    let nginx_p99 = yardstick.and_then(|side| median(side.p99_us));

    let mut verdicts = Vec::new();
    if let (Some(ratio), Some(cpu), Some(nginx)) = (scenario.bars.cpu_ratio, cpu, nginx_cpu) {
        verdicts.push(Verdict::new("CPU a chunk, × nginx".into(), cpu / nginx, ratio));
    }
    if let (Some(limit), Some(cpu)) = (scenario.bars.cpu_us_per_chunk, cpu) {
        verdicts.push(Verdict::new("CPU a chunk, µs".into(), cpu, limit));
    }
    if let (Some(over_us), Some(p99), Some(nginx)) = (scenario.bars.p99_over_us, p99, nginx_p99) {
        verdicts.push(Verdict::new(format!("p99, µs (nginx + {over_us})"), p99, nginx + over_us));
    }
    let memory = median(candidate.memory_bytes_per_stream);
    if let (Some(limit), Some(bytes)) = (scenario.bars.memory_bytes_per_stream, memory) {
        verdicts.push(Verdict::new("memory a stream, KiB".into(), bytes / 1024.0, limit / 1024.0));
    }
    verdicts
}
