//! SIGHUP asks a daemon to read its files again. SIGTERM and SIGINT: the first asks for an orderly end, the second ends the process at once. Either way nothing that
//! was committed is lost, and what was not is fetched again by the next run.

use std::time::{Duration, Instant};

use pipeline::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit;

/// Signals so close together are one.
const SAME_WISH: Duration = Duration::from_millis(500);

/// Every SIGHUP from now on.
pub(crate) fn hangups() -> Result<Signal> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|e| Error::permanent("signals cannot be caught").caused_by(e))
}

/// A token that the first signal cancels. The process ends with [`exit::INTERRUPTED`] on the second.
pub(crate) fn stop_token() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        let mut first = None;
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            let now = Instant::now();
            let told = *first.get_or_insert(now);
            // `timeout` signals the process and then its group: one wish, told twice.
            if token.is_cancelled() && now.duration_since(told) < SAME_WISH {
                continue;
            }
            if token.is_cancelled() {
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
            tracing::info!("stopping: what was begun is finished first; a second signal stops at once");
            token.cancel();
        }
    });
    Ok(stop)
}
