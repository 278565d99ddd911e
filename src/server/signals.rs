//! The wish to end, as the system tells it.

use std::io;

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What shells report for a process that a signal ended: this plus the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// Whether the process was asked to end.
pub(super) struct Signals {
    asked: watch::Receiver<bool>,
}

impl Signals {
    /// Listens for SIGINT and SIGTERM from now on. The first one is told by [`Signals::first`]; the second one ends the
    /// process on the spot, whatever it does.
    pub(super) fn watch(runtime: &Handle) -> io::Result<Self> {
        let _inside = runtime.enter();
        let mut both = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (tell, asked) = watch::channel(false);
        // Not on the main thread, which may be busy with ending.
        runtime.spawn(async move {
            let (_, name) = next(&mut both).await;
            tracing::info!(signal = name, "asked to end");
            tell.send_replace(true);
            let (number, name) = next(&mut both).await;
            tracing::warn!(signal = name, "asked again: ending at once; the next start ends what still ran");
            std::process::exit(ENDED_BY_SIGNAL + number);
        });
        Ok(Signals { asked })
    }

    /// Waits for the first signal.
    pub(super) async fn first(&self) {
        // A sender that is gone says the same.
        _ = self.asked.clone().wait_for(|asked| *asked).await;
    }
}

/// Does `then` at each SIGUSR1, from now on. Without this the signal would end the process.
pub(super) fn at_each_user_signal(runtime: &Handle, then: impl Fn() + Send + 'static) -> io::Result<()> {
    let _inside = runtime.enter();
    let mut signals = signal(SignalKind::user_defined1())?;
    runtime.spawn(async move {
        while signals.recv().await.is_some() {
            then();
        }
    });
    Ok(())
}

async fn next((interrupt, terminate): &mut (Signal, Signal)) -> (i32, &'static str) {
    tokio::select! {
        _ = interrupt.recv() => (SignalKind::interrupt().as_raw_value(), "SIGINT"),
        _ = terminate.recv() => (SignalKind::terminate().as_raw_value(), "SIGTERM"),
    }
}
