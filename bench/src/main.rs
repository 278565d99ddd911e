//! The relay benchmark: Thinkwire beside nginx, both fed by one upstream in one run.
//!
//! Every chunk carries a number and the moment at which it was made; the client finds both again, so that loss,
//! doubling, order and latency are all seen. `scripts/bench` builds and starts it.

mod child;
mod chunk;
mod error;
mod gateway;
mod http;
mod load;
mod loadcmd;
mod measure;
mod nginx;
mod pacer;
mod params;
mod postgres;
mod proc;
mod report;
mod run;
mod scan;
mod scenario;
mod soak;
mod stats;
mod store;
mod stream;
mod sys;
mod table;
mod temp;
mod upstream;
mod ws;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "The relay benchmark: Thinkwire beside nginx, both fed by one upstream in one run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start all sides, run the scenarios in rounds, print a table
    Run(Box<run::RunArgs>),
    /// Run the gateway under churn and report whether memory and resources stay flat
    Soak(Box<soak::SoakArgs>),
    /// Only the upstream: an OpenAI-compatible server whose every chunk is stamped
    Upstream(upstream::UpstreamArgs),
    /// Only the load client, against anything that relays the upstream
    Load(loadcmd::LoadArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Upstream(args) => upstream::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Load(args) => loadcmd::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("thinkwire-bench: {error}");
        ExitCode::FAILURE
    })
}
