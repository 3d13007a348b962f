//! Work that would hold up the async threads: a bounded number of blocking jobs at a time.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;

/// Runs blocking jobs, at most a given number at a time; further ones wait in order.
#[derive(Clone, Debug)]
pub struct CpuPool {
    slots: Arc<Semaphore>,
}

/// A job that gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an internal job failed; the log says where")]
pub struct JobPanicked;

// === impl CpuPool ===

impl CpuPool {
    /// A pool that runs `jobs` jobs at a time, at least one.
    pub fn new(jobs: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(jobs.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    /// How many further jobs could start now.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.slots.available_permits()
    }

    /// Runs a job. When the caller goes away, a job that has not started never does; one that has
    /// keeps its slot to its end.
    ///
    /// # Errors
    /// When the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JobPanicked> {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| JobPanicked)?;
        let job = move || {
            let answer = job();
            drop(slot);
            answer
        };
        tokio::task::spawn_blocking(job).await.map_err(|_| JobPanicked)
    }
}
