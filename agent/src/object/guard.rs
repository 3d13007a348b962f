//! A bound on time for work that a foreign file system or process can stall.
//!
//! In: a closure. Out: its result, or [`Stalled`] when it takes too long. Reading a file on a dead
//! NFS server or on a FUSE file system whose server does not answer, or `/proc/PID/environ` of a
//! process whose stack is such a file, can block a thread for ever, and no signal or flag prevents
//! it. So that work runs on a helper thread, and a helper that does not come back is left behind.

use std::{
    io, panic,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use thiserror::Error;

/// Most helpers left behind at the same time. Beyond it nothing is tried any more.
const MAX_STALLED: usize = 8;

/// Memory for a helper's stack; only touched pages count.
const STACK_BYTES: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// Runs work that may stall.
#[derive(Debug)]
pub struct Guard {
    patience: Duration,
    idle: Mutex<Option<SyncSender<Job>>>,
    stalled: Arc<AtomicUsize>,
}

/// Work that was not done.
#[derive(Debug, Error)]
pub enum Stalled {
    /// It took longer than allowed.
    #[error("no answer within {} ms; its file system or process may hang", .0.as_millis())]
    Timeout(Duration),
    /// Too much earlier work has not come back.
    #[error("{0} earlier reads still hang; a file system on this host does not answer")]
    TooMany(usize),
    /// No thread could be made.
    #[error("no helper thread could be started: {0}")]
    Thread(#[source] io::Error),
    /// The work panicked: a defect of this program, contained.
    #[error("the read failed inside the agent; please report this")]
    Panicked,
}

// === impl Guard ===

impl Guard {
    /// A guard that waits `patience` for each piece of work.
    pub fn with_patience(patience: Duration) -> Self {
        Self { patience, idle: Mutex::new(None), stalled: Arc::default() }
    }

    /// Runs `work` and waits for it, but not too long. Work that takes longer goes on alone; its
    /// result is lost.
    ///
    /// # Errors
    /// When there is no result in time.
    pub fn run<T, F>(&self, work: F) -> Result<T, Stalled>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled >= MAX_STALLED {
            return Err(Stalled::TooMany(stalled));
        }
        let (done, result) = sync_channel(1);
        let job: Job = Box::new(move || {
            // Nobody listens any more when it came too late.
            let _too_late = done.send(work());
        });
        let helper = self.submit(job).map_err(Stalled::Thread)?;
        match result.recv_timeout(self.patience) {
            Ok(value) => {
                *self.lock_idle() = Some(helper);
                Ok(value)
            }
            Err(RecvTimeoutError::Disconnected) => Err(Stalled::Panicked),
            Err(RecvTimeoutError::Timeout) => {
                self.stalled.fetch_add(1, Ordering::Relaxed);
                let stalled = Arc::clone(&self.stalled);
                // The next job of the abandoned helper, should it ever come back: it counts itself
                // off and ends, as its queue is closed behind it.
                let farewell: Job = Box::new(move || {
                    stalled.fetch_sub(1, Ordering::Relaxed);
                });
                if helper.try_send(farewell).is_err() {
                    self.stalled.fetch_sub(1, Ordering::Relaxed);
                }
                Err(Stalled::Timeout(self.patience))
            }
        }
    }

    /// Helpers that have not come back yet.
    pub fn stalled(&self) -> usize {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Hands the job to the idle helper or to a new one; gives back the helper that has it.
    fn submit(&self, mut job: Job) -> io::Result<SyncSender<Job>> {
        let idle = self.lock_idle().take();
        if let Some(helper) = idle {
            match helper.send(job) {
                Ok(()) => return Ok(helper),
                Err(returned) => job = returned.0,
            }
        }
        // Room for a job the thread has not begun yet, and for its farewell.
        let (helper, jobs) = sync_channel(2);
        thread::Builder::new()
            .name("guarded-read".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || work_off(&jobs))?;
        // The queue is empty and its reader was just started.
        helper.send(job).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(helper)
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Option<SyncSender<Job>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work_off(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        // A panic ends the job, not the helper: its sender is dropped, which the caller sees.
        let _reported_as_panicked = panic::catch_unwind(panic::AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests;
