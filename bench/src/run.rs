//! The whole benchmark: starts all sides, runs the scenarios in alternating rounds, reports.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Args;

use crate::child::Child;
use crate::error::{Context as _, Result};
use crate::gateway::Gateway;
use crate::measure::{Measurement, Running, measure};
use crate::nginx;
use crate::report::{GatewaySetup, Report, ScenarioReport, Setup, SideReport, verdicts};
use crate::scenario::{Name, Scenario, Sizes};
use crate::stream::Api;
use crate::{sys, table};

/// Each stream takes two descriptors of a relay; the rest is for everything else.
const SPARE_FILES: u64 = 256;

/// Flags of `thinkwire-bench run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The gateway's binary; without it only the other sides run
    #[arg(long)]
    thinkwire: Option<PathBuf>,
    /// nginx's binary
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
    /// Workers of the gateway
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Where the gateway stores [default: a fresh SQLite file a measurement]
    #[arg(long)]
    store: Option<String>,
    /// Rounds of each scenario [default: 5; quick: 1]
    #[arg(long)]
    rounds: Option<u32>,
    /// Small sizes, to see that everything works; the figures are rough
    #[arg(long)]
    quick: bool,
    /// Run only this scenario (may be repeated)
    #[arg(long = "scenario", value_name = "NAME")]
    scenarios: Vec<Name>,
    /// Run only this side (may be repeated) [default: nginx and thinkwire]
    #[arg(long = "side", value_name = "SIDE")]
    sides: Vec<Side>,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// End with status 2 when a bar is missed
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    sizes: Sizes,
}

/// Who stands between client and upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    /// Nobody: the floor of the latency.
    Direct,
    Nginx,
    Thinkwire,
}

impl Side {
    fn text(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Thinkwire => "thinkwire",
        }
    }
}

/// Runs everything; the exit status tells of faults (1) and, when strict, of missed bars (2).
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let open_files = sys::raise_open_files().context("raising the limit of open files")?;
    let names = if args.scenarios.is_empty() { Name::ALL.to_vec() } else { args.scenarios.clone() };
    let scenarios: Vec<_> = names.iter().map(|&name| Scenario::new(name, &args.sizes, args.quick)).collect();
    for Scenario { name, streams, .. } in &scenarios {
        let needed = streams * 2 + SPARE_FILES;
        if needed > open_files {
            return Err(format!("{name} needs {needed} open files, the hard limit is {open_files}").into());
        }
    }
    let sides = sides(args)?;
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 }).max(1);
    let setup = setup(args, &sides, rounds)?;

    let temp = TempDir::new()?;
    let (mut upstream, upstream_address) = start_upstream(&temp.0)?;
    let mut bench = Bench { args, temp: &temp.0, upstream: &mut upstream, upstream_address, started: 0 };
    let mut reports = Vec::new();
    for scenario in scenarios {
        let sides = bench.scenario(&scenario, &sides, rounds)?;
        let verdicts = verdicts(&scenario, &sides);
        reports.push(ScenarioReport { scenario, sides, verdicts });
    }
    let report = Report { version: 1, setup, scenarios: reports };
    print!("{}", table::render(&report));
    if let Some(path) = &args.json {
        let mut json = serde_json::to_string_pretty(&report).context("writing JSON")?;
        json.push('\n');
        fs::write(path, json).context(format!("writing {}", path.display()))?;
    }
    Ok(exit_code(&report, args.strict))
}

fn exit_code(report: &Report, strict: bool) -> ExitCode {
    let mut rounds = report.scenarios.iter().flat_map(|scenario| &scenario.sides).flat_map(|side| &side.rounds);
    let held = report.scenarios.iter().flat_map(|scenario| &scenario.verdicts).all(|verdict| verdict.held);
    if rounds.any(|round| round.faults() > 0) {
        ExitCode::from(1)
    } else if strict && !held {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}

fn sides(args: &RunArgs) -> Result<Vec<Side>> {
    let mut sides = args.sides.clone();
    if sides.is_empty() {
        sides.push(Side::Nginx);
        match args.thinkwire {
            Some(_) => sides.push(Side::Thinkwire),
            None => eprintln!("no --thinkwire: only nginx is measured"),
        }
    }
    if sides.contains(&Side::Thinkwire) && args.thinkwire.is_none() {
        return Err("--side thinkwire needs --thinkwire PATH".into());
    }
    if let Some(program) = &args.thinkwire {
        // Now, and not after the first round of the other side.
        fs::metadata(program).context(format!("finding {}", program.display()))?;
    }
    Ok(sides)
}

fn setup(args: &RunArgs, sides: &[Side], rounds: u32) -> Result<Setup> {
    let proc = |path| fs::read_to_string(path).map(|text| text.trim().to_owned()).context(path);
    let load_average = proc("/proc/loadavg")?;
    Ok(Setup {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: proc("/proc/sys/kernel/osrelease")?,
        nginx: sides.contains(&Side::Nginx).then(|| nginx::version(&args.nginx)).transpose()?,
        thinkwire: sides.contains(&Side::Thinkwire).then(|| GatewaySetup {
            workers: args.workers,
            store: args.store.as_deref().and_then(|url| url.split("://").next()).unwrap_or("sqlite").to_owned(),
        }),
        rounds,
        quick: args.quick,
        load_average: load_average.split(' ').next().unwrap_or_default().to_owned(),
    })
}

fn start_upstream(temp: &Path) -> Result<(Child, SocketAddr)> {
    let port_file = temp.join("upstream.port");
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command.arg("upstream").arg("--port-file").arg(&port_file);
    let mut child = Child::start("upstream", command, temp)?;
    let address = child.wait_for_port(&port_file, Duration::from_secs(10))?;
    Ok((child, address))
}

struct Bench<'a> {
    args: &'a RunArgs,
    temp: &'a Path,
    upstream: &'a mut Child,
    upstream_address: SocketAddr,
    started: u32,
}

impl Bench<'_> {
    /// All rounds of one scenario. The order turns every round, so that no side always runs on the warmer machine.
    fn scenario(&mut self, scenario: &Scenario, sides: &[Side], rounds: u32) -> Result<Vec<SideReport>> {
        let mut measured: Vec<Vec<Measurement>> = sides.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..sides.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let side = sides[index];
                let what = format!("{} {}, round {} of {rounds}", scenario.name, side.text(), round + 1);
                let measurement = self.one(scenario, side).context(&what)?;
                let cpu = measurement.cpu_us_per_chunk.map_or("–".into(), |cpu| format!("{cpu:.2}"));
                eprintln!("{what}: {cpu} µs CPU a chunk, p99 {:.0} µs", measurement.p99_us);
                measured[index].push(measurement);
            }
        }
        Ok(sides.iter().zip(measured).map(|(side, rounds)| SideReport::new(side.text(), rounds)).collect())
    }

    /// One round of one side, in a process of its own: memory kept from an earlier load would hide the growth.
    fn one(&mut self, scenario: &Scenario, side: Side) -> Result<Measurement> {
        self.started += 1;
        let dir = self.temp.join(self.started.to_string());
        fs::create_dir(&dir).context(format!("creating {}", dir.display()))?;
        let mut running = self.start(side, &dir)?;
        let measurement = measure(scenario, &mut running, self.upstream)?;
        drop(running);
        // A round's database can be large.
        fs::remove_dir_all(&dir).context(format!("removing {}", dir.display()))?;
        Ok(measurement)
    }

    fn start(&self, side: Side, dir: &Path) -> Result<Running> {
        let (child, address) = match (side, &self.args.thinkwire) {
            (Side::Nginx, _) => nginx::start(&self.args.nginx, self.upstream_address, dir)?,
            (Side::Thinkwire, Some(program)) => {
                let program = program.canonicalize().context(format!("finding {}", program.display()))?;
                let gateway = Gateway { program, workers: self.args.workers, store_url: self.args.store.clone() };
                gateway.start(self.upstream_address, dir)?
            }
            (Side::Direct | Side::Thinkwire, _) => {
                return Ok(Running { address: self.upstream_address, api: Api::Openai, child: None });
            }
        };
        let api = if side == Side::Thinkwire { Api::Generate } else { Api::Openai };
        Ok(Running { address, api, child: Some(child) })
    }
}

/// A folder for configurations, logs and databases that goes with the run.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Result<Self> {
        let name = format!("thinkwire-bench-{}-{}", std::process::id(), sys::monotonic_ns());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).context(format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
