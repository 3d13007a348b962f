//! Drives the spool: does what the outbox decides, one file operation at a time, on a thread that
//! may block. Ends when told to, after everything due has been written.

use std::{io, sync::Arc, time::Duration};

use tokio::{sync::watch, task::spawn_blocking, time::sleep_until};
use tracing::{error, info, warn};

use super::{
    Phase,
    outbox::SpoolOp,
    quiet::Quiet,
    shared::{Shared, add, now},
    spool::Spool,
};

/// How often the same failure is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Runs until the phase is [`Phase::Stop`] and nothing is left to do at once.
pub(super) async fn run(shared: Arc<Shared>, spool: Arc<Spool>, mut phase: watch::Receiver<Phase>) {
    let mut failures = Quiet::new(LOG_INTERVAL);
    loop {
        match shared.next_spool_op() {
            SpoolOp::Write(id, sealed) => {
                let disk = Arc::clone(&spool);
                let written = blocking(move || disk.write(id, &sealed)).await;
                match written {
                    Ok(()) => {
                        shared.written(id);
                        shared.send_wake.notify_one();
                        if failures.over() {
                            info!(dir = %spool.dir().display(), "the spool can be written again");
                        }
                    }
                    Err(error) => {
                        shared.write_failed(id);
                        add(&shared.counters.spool_errors, 1);
                        report(&mut failures, &spool, &error);
                    }
                }
            }
            SpoolOp::Delete(id) => {
                let disk = Arc::clone(&spool);
                if let Err(error) = blocking(move || disk.delete(id)).await {
                    add(&shared.counters.spool_errors, 1);
                    // It will be sent again at the next start and recognized as a duplicate.
                    warn!(batch = %id, %error, "spooled batch cannot be deleted");
                }
                shared.deleted(id);
                shared.send_wake.notify_one();
            }
            SpoolOp::Wait(_) if *phase.borrow() == Phase::Stop => return,
            SpoolOp::Wait(until) => {
                let wake = async {
                    match until {
                        Some(until) => sleep_until(until.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = shared.spool_wake.notified() => {}
                    () = wake => {}
                    // A closed channel means that the handle is gone: stop, too.
                    changed = phase.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn report(failures: &mut Quiet<io::ErrorKind>, spool: &Spool, error: &io::Error) {
    let Some(left_out) = failures.admit(error.kind(), now()) else { return };
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free room on its file system, or lower --spool-bytes"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "make the directory writable, or choose another with --spool-dir"
        }
        _ => "check the disk, or choose another directory with --spool-dir",
    };
    error!(
        dir = %spool.dir().display(), %error, remedy, failures_not_logged = left_out,
        "cannot write to the spool; batches stay in memory while they fit"
    );
}
