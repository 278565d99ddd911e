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
    /// The version of the PostgreSQL server that was started.
    pub postgres: Option<String>,
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
    /// The kinds of database; an address may hold a password.
    pub store: String,
}

/// One scenario, all sides and rounds.
#[derive(Debug, Serialize)]
pub struct ScenarioReport {
    /// Its sizes and bars.
    pub scenario: Scenario,
    /// One entry a side.
    pub sides: Vec<SideReport>,
    /// CPU time a chunk of the gateway on PostgreSQL, as a multiple of that on SQLite; absent unless both ran.
    pub postgres_to_sqlite_cpu: Option<f64>,
    /// What the candidate held and missed.
    pub verdicts: Vec<Verdict>,
}

/// One side of one scenario.
#[derive(Debug, Serialize)]
pub struct SideReport {
    /// `nginx`, `thinkwire`, `thinkwire-postgres`, the last two with `-ws` for WebSockets, or `direct`.
    pub side: &'static str,
    /// CPU time of the whole side a chunk.
    pub cpu_us_per_chunk: Option<Spread>,
    /// CPU time of the database's server a chunk, which is no part of the side's.
    pub database_cpu_us_per_chunk: Option<Spread>,
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
            database_cpu_us_per_chunk: Spread::of(rounds.iter().filter_map(Measurement::database_cpu_us_per_chunk)),
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

/// The largest multiple of the CPU time on SQLite that PostgreSQL may take.
const STORES_RATIO: f64 = 1.1;

/// CPU time a chunk on PostgreSQL as a multiple of that on SQLite.
pub fn postgres_to_sqlite_cpu(sides: &[SideReport]) -> Option<f64> {
    let median = |name| sides.iter().find(|side| side.side == name)?.cpu_us_per_chunk.map(|cpu| cpu.median);
    Some(median("thinkwire-postgres")? / median("thinkwire").filter(|cpu| *cpu > 0.0)?)
}

/// CPU time a chunk over WebSockets as a multiple of that over SSE, on the same database.
pub fn ws_to_sse_cpu(sides: &[SideReport]) -> Option<f64> {
    let median = |name| sides.iter().find(|side| side.side == name)?.cpu_us_per_chunk.map(|cpu| cpu.median);
    [("thinkwire-ws", "thinkwire"), ("thinkwire-ws-postgres", "thinkwire-postgres")]
        .into_iter()
        .find_map(|(ws, sse)| Some(median(ws)? / median(sse).filter(|cpu| *cpu > 0.0)?))
}

/// The sides that may be the candidate: the usual one first, and WebSockets where a scenario is about them.
const CANDIDATES: [&str; 4] = ["thinkwire-ws", "thinkwire-ws-postgres", "thinkwire", "thinkwire-postgres"];

/// Compares the candidate with the yardstick; bars that lack a figure are left out.
pub fn verdicts(scenario: &Scenario, sides: &[SideReport]) -> Vec<Verdict> {
    let side = |name| sides.iter().find(|side| side.side == name);
    let Some(candidate) = CANDIDATES.into_iter().find_map(side) else { return Vec::new() };
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
    if let (Some(limit), Some(p99)) = (scenario.bars.p99_us, p99) {
        verdicts.push(Verdict::new("p99, µs".into(), p99, limit));
    }
    if let (Some(limit), Some(ratio)) = (scenario.bars.sse_ratio, ws_to_sse_cpu(sides)) {
        verdicts.push(Verdict::new("CPU a chunk over /ws, × SSE".into(), ratio, limit));
    }
    let memory = median(candidate.memory_bytes_per_stream);
    if let (Some(limit), Some(bytes)) = (scenario.bars.memory_bytes_per_stream, memory) {
        verdicts.push(Verdict::new("memory each, KiB".into(), bytes / 1024.0, limit / 1024.0));
    }
    if let Some(ratio) = postgres_to_sqlite_cpu(sides) {
        verdicts.push(Verdict::new("CPU a chunk on PostgreSQL, × SQLite".into(), ratio, STORES_RATIO));
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Bars, Doing};

    fn side(side: &'static str, cpu: f64) -> SideReport {
        let cpu_us_per_chunk = Spread::of([cpu]);
        SideReport { cpu_us_per_chunk, ..SideReport::new(side, Vec::new()) }
    }

    fn scenario() -> Scenario {
        let bars = Bars { cpu_ratio: Some(1.3), sse_ratio: Some(1.2), ..Bars::NONE };
        let doing = Doing::Streams;
        Scenario { name: "x", doing, streams: 1, every_us: 1, window_s: 1, unpaced_chunks: 0, batch: 1, bars }
    }

    #[test]
    fn both_ways_are_compared_where_both_ran() {
        let sides = [side("thinkwire", 20.0), side("thinkwire-ws", 23.0)];
        let found: Vec<_> = verdicts(&scenario(), &sides).into_iter().map(|v| (v.measured, v.limit, v.held)).collect();
        assert_eq!(found, [(1.15, 1.2, true)]);
        assert_eq!(ws_to_sse_cpu(&sides[1..]), None);
        assert_eq!(ws_to_sse_cpu(&[side("thinkwire", 20.0), side("thinkwire-ws-postgres", 23.0)]), None);
    }

    #[test]
    fn the_databases_are_compared_where_both_ran() {
        let sides = [side("nginx", 10.0), side("thinkwire", 12.0), side("thinkwire-postgres", 15.0)];
        let found: Vec<_> = verdicts(&scenario(), &sides).into_iter().map(|v| (v.measured, v.limit, v.held)).collect();
        assert_eq!(found, [(1.2, 1.3, true), (1.25, 1.1, false)]);
        assert_eq!(postgres_to_sqlite_cpu(&sides[..2]), None);
    }

    #[test]
    fn a_gateway_on_postgres_alone_is_the_candidate() {
        let found = verdicts(&scenario(), &[side("nginx", 10.0), side("thinkwire-postgres", 14.0)]);
        assert_eq!((found.len(), found[0].measured, found[0].held), (1, 1.4, false));
    }
}
