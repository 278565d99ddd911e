//! The whole benchmark: starts all sides, runs the scenarios in alternating rounds, reports.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::child::Child;
use crate::error::{Context as _, Result};
use crate::gateway::Gateway;
use crate::measure::{Measurement, Running, measure};
use crate::nginx;
use crate::report::{GatewaySetup, Report, ScenarioReport, Setup, SideReport, postgres_to_sqlite_cpu, verdicts};
use crate::scenario::{Doing, Name, Scenario, Sizes};
use crate::store::{Kind, Storage, StoreArgs, Stores};
use crate::stream::Api;
use crate::temp::TempDir;
use crate::{sys, table, upstream};

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
    #[command(flatten)]
    store: StoreArgs,
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
    sides: Vec<SideArg>,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// End with status 2 when a bar is missed
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    sizes: Sizes,
}

/// Who stands between client and upstream, as given on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SideArg {
    /// Nobody: the floor of the latency.
    Direct,
    Nginx,
    /// A side for each of `--stores`; over SSE or WebSockets, or both, as a scenario says.
    Thinkwire,
}

/// One side of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Direct,
    Nginx,
    Thinkwire(Kind),
    /// The same over WebSockets.
    ThinkwireWs(Kind),
}

impl Side {
    /// The name in tables. A gateway that stores to a file is the usual one.
    fn text(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Thinkwire(Kind::Sqlite) => "thinkwire",
            Self::Thinkwire(Kind::Postgres) => "thinkwire-postgres",
            Self::ThinkwireWs(Kind::Sqlite) => "thinkwire-ws",
            Self::ThinkwireWs(Kind::Postgres) => "thinkwire-ws-postgres",
        }
    }

    fn is_gateway(self) -> bool {
        matches!(self, Self::Thinkwire(_) | Self::ThinkwireWs(_))
    }

    /// What becomes of this side in a scenario: others than the gateway know no WebSockets.
    fn within(self, doing: Doing) -> Vec<Self> {
        match (doing, self) {
            (Doing::Streams, side) => vec![side],
            (Doing::StreamsBothWays, Self::Thinkwire(kind)) => vec![self, Self::ThinkwireWs(kind)],
            (Doing::Fanout | Doing::Idle { .. }, Self::Thinkwire(kind)) => vec![Self::ThinkwireWs(kind)],
            _ => Vec::new(),
        }
    }
}

/// Runs everything; the exit status tells of faults (1) and, when strict, of missed bars (2).
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let open_files = sys::raise_open_files().context("raising the limit of open files")?;
    let names = if args.scenarios.is_empty() { Name::ALL.to_vec() } else { args.scenarios.clone() };
    let mut scenarios: Vec<_> = names.iter().map(|&name| Scenario::new(name, &args.sizes, args.quick)).collect();
    for scenario in &mut scenarios {
        let (name, needed) = (scenario.name, scenario.open_files());
        if needed <= open_files {
            continue;
        }
        if !matches!(scenario.doing, Doing::Idle { .. }) || open_files <= Scenario::SPARE_FILES {
            return Err(format!("{name} needs {needed} open files, the hard limit is {open_files}").into());
        }
        scenario.streams = open_files - Scenario::SPARE_FILES;
        eprintln!("{name}: {} sockets, because the hard limit of open files is {open_files}", scenario.streams);
    }
    // nginx need not be there for scenarios that it has no part in.
    let of_use = |side: &Side| scenarios.iter().any(|scenario| !side.within(scenario.doing).is_empty());
    let sides: Vec<Side> = sides(args)?.into_iter().filter(of_use).collect();
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 }).max(1);
    let setup = setup(args, &sides, rounds)?;

    let temp = TempDir::new()?;
    let mut stores = match sides.iter().any(|side| side.is_gateway()) {
        true => Some(Stores::start(&args.store, temp.path())?),
        false => None,
    };
    let (mut upstream, upstream_address) = upstream::start(temp.path(), &[])?;
    let mut bench =
        Bench { args, temp: temp.path(), upstream: &mut upstream, upstream_address, stores: &mut stores, started: 0 };
    let mut reports = Vec::new();
    for scenario in scenarios {
        let sides: Vec<Side> = sides.iter().flat_map(|side| side.within(scenario.doing)).collect();
        if sides.is_empty() {
            eprintln!("{}: left out, because none of the sides can do it", scenario.name);
            continue;
        }
        let sides = bench.scenario(&scenario, &sides, rounds)?;
        let verdicts = verdicts(&scenario, &sides);
        let postgres_to_sqlite_cpu = postgres_to_sqlite_cpu(&sides);
        reports.push(ScenarioReport { scenario, sides, postgres_to_sqlite_cpu, verdicts });
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
    let mut given = args.sides.clone();
    if given.is_empty() {
        given.push(SideArg::Nginx);
        match args.thinkwire {
            Some(_) => given.push(SideArg::Thinkwire),
            None => eprintln!("no --thinkwire: only nginx is measured"),
        }
    }
    if given.contains(&SideArg::Thinkwire) && args.thinkwire.is_none() {
        return Err("--side thinkwire needs --thinkwire PATH".into());
    }
    if let Some(program) = &args.thinkwire {
        // Now, and not after the first round of the other side.
        fs::metadata(program).context(format!("finding {}", program.display()))?;
    }
    Ok(given
        .into_iter()
        .flat_map(|side| match side {
            SideArg::Direct => vec![Side::Direct],
            SideArg::Nginx => vec![Side::Nginx],
            SideArg::Thinkwire => args.store.kinds().into_iter().map(Side::Thinkwire).collect(),
        })
        .collect())
}

fn setup(args: &RunArgs, sides: &[Side], rounds: u32) -> Result<Setup> {
    let proc = |path| fs::read_to_string(path).map(|text| text.trim().to_owned()).context(path);
    let load_average = proc("/proc/loadavg")?;
    Ok(Setup {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: proc("/proc/sys/kernel/osrelease")?,
        nginx: sides.contains(&Side::Nginx).then(|| nginx::version(&args.nginx)).transpose()?,
        thinkwire: sides.iter().any(|side| side.is_gateway()).then(|| GatewaySetup {
            workers: args.workers,
            store: args.store.kinds().iter().map(|kind| kind.text()).collect::<Vec<_>>().join(", "),
        }),
        postgres: match sides.contains(&Side::Thinkwire(Kind::Postgres)) {
            true => args.store.postgres_version()?,
            false => None,
        },
        rounds,
        quick: args.quick,
        load_average: load_average.split(' ').next().unwrap_or_default().to_owned(),
    })
}

struct Bench<'a> {
    args: &'a RunArgs,
    temp: &'a Path,
    upstream: &'a mut Child,
    upstream_address: SocketAddr,
    stores: &'a mut Option<Stores>,
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
                let cpu = measurement.cpu_us_per_chunk.map(|cpu| format!("{cpu:.2} µs CPU a chunk, "));
                let memory =
                    measurement.memory_bytes_per_stream.map(|bytes| format!(", {:.1} KiB each", bytes / 1024.0));
                let (cpu, memory) = (cpu.unwrap_or_default(), memory.unwrap_or_default());
                eprintln!("{what}: {cpu}p99 {:.0} µs{memory}", measurement.p99_us);
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
        let (mut running, storage) = self.start(side, &dir)?;
        let measurement = measure(scenario, &mut running, self.upstream)?;
        drop(running);
        if let (Some(stores), Some(storage)) = (&self.stores, &storage) {
            stores.close(storage)?;
        }
        // A round's database can be large.
        fs::remove_dir_all(&dir).context(format!("removing {}", dir.display()))?;
        Ok(measurement)
    }

    fn start(&mut self, side: Side, dir: &Path) -> Result<(Running, Option<Storage>)> {
        let upstream = self.upstream_address;
        let (kind, api) = match side {
            Side::Thinkwire(kind) => (kind, Api::Generate),
            Side::ThinkwireWs(kind) => (kind, Api::Ws),
            Side::Direct | Side::Nginx => {
                let (address, child) = match side {
                    Side::Nginx => {
                        nginx::start(&self.args.nginx, upstream, dir).map(|(child, at)| (at, Some(child)))?
                    }
                    _ => (upstream, None),
                };
                return Ok((Running { address, api: Api::Openai, child, database_pid: None }, None));
            }
        };
        let (Some(program), Some(stores)) = (&self.args.thinkwire, self.stores.as_mut()) else {
            return Err("there is no gateway to start".into());
        };
        let program = program.canonicalize().context(format!("finding {}", program.display()))?;
        let storage = stores.open(kind, dir)?;
        let store_url = storage.url.clone();
        let gateway = Gateway { program, workers: self.args.workers, store_url, settings: "" };
        let (child, address) = gateway.start(upstream, dir)?;
        let database_pid = stores.server_pid().filter(|_| kind == Kind::Postgres);
        Ok((Running { address, api, child: Some(child), database_pid }, Some(storage)))
    }
}
