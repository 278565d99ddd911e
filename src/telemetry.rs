//! What the process says about itself: log lines on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Sends log lines to stderr from now on, as `log` says. Once a process: later calls change nothing.
pub fn init(log: &LogConfig) {
    // The configuration has checked the filter; should it be handed one that it has not, errors are still shown.
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("error"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match log.format {
        LogFormat::Text => lines.with_ansi(colours(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
    // An error means that there is a subscriber already, which is what was wanted.
    drop(done);
}

/// Whether ANSI colours may be used: on a terminal, unless `NO_COLOR` is set.
pub fn colours(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
