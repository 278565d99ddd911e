//! The load client as a command of its own, to look at one relay by hand.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clap::Args;

use crate::error::{Context as _, Result};
use crate::load::{self, Plan, Progress, Shape};
use crate::params::StreamParams;
use crate::stream::Api;
use crate::sys;

/// Flags of `thinkwire-bench load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Address of the relay
    address: SocketAddr,
    /// What it speaks
    #[arg(long, value_enum, default_value_t = Api::Openai)]
    api: Api,
    /// Streams at once
    #[arg(long, default_value_t = 100)]
    streams: u64,
    /// Shape of each stream
    #[arg(long, default_value = "n=500,every_us=10000")]
    params: StreamParams,
    /// Time over which the streams are opened, in ms
    #[arg(long, default_value_t = 100)]
    ramp_ms: u64,
    /// Time after which the rest is given up, in ms
    #[arg(long, default_value_t = 60_000)]
    limit_ms: u64,
}

/// Runs the load and prints its books; the status is 1 when something was lost, doubled, out of order or cut off.
pub fn run(args: &LoadArgs) -> Result<ExitCode> {
    sys::raise_open_files().context("raising the limit of open files")?;
    let progress = Arc::new(Progress::default());
    progress.window.store(true, Relaxed);
    let plan = Plan {
        address: args.address,
        api: args.api,
        shape: Shape::Streams,
        streams: args.streams.max(1),
        params: args.params,
        ramp: Duration::from_millis(args.ramp_ms),
        limit: Duration::from_millis(args.limit_ms),
    };
    let outcome = load::run(&plan, &progress)?;
    println!(
        "{} chunks, {} lost, {} doubled, {} out of order, {} streams without a proper end",
        outcome.received, outcome.lost, outcome.doubled, outcome.disordered, outcome.unfinished
    );
    let latency = &outcome.latency;
    println!(
        "latency: p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs",
        latency.quantile_us(0.5),
        latency.quantile_us(0.99),
        latency.max_us()
    );
    for failure in &outcome.failures {
        eprintln!("{failure}");
    }
    Ok(if outcome.faults() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
