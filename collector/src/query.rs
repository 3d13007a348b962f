//! What engineers ask.
//!
//! In: a range and a selector. Out: sums over the samples in the range, with a Coverage that says
//! what they were made from. A sample belongs to a range when the middle of its window does, so that
//! adjacent ranges add up; ranges of a day or longer, but for those of series, are of whole hours. A file is
//! read, used and dropped before the next. Runs in a bounded blocking pool and stops when the client goes
//! away. Not done here: gRPC and HTTP.

mod coverage;
mod error;
mod functions;
mod history;
mod labels;
mod missing;
mod named;
mod plan;
mod profile;
mod reader;
mod series;
mod service;
mod services;
mod status;
mod sums;
mod symbols;
mod top;

use std::{sync::Arc, time::Duration};

use fleetprof_store::ProfileStore;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub use error::QueryError;
pub use plan::Plan;
pub use profile::{Labels, Profile};
pub use service::QueryApi;

use self::{functions::KnownFunctions, sums::FileSums};
use crate::{
    cpu_pool::CpuPool,
    ingest::Agents,
    metrics::{Method, Metrics},
    objects::{Catalog, Wants},
    symbols::Symbols,
};

/// Answers queries. Cloning shares it.
#[derive(Clone)]
pub struct Queries {
    parts: Arc<QueryParts>,
}

/// What was found in files lately, which never change.
#[derive(Debug)]
pub struct Known {
    sums: FileSums,
    functions: KnownFunctions,
}

/// What queries work with.
pub struct QueryParts {
    /// The samples.
    pub store: ProfileStore,
    /// Where the store works.
    pub runtime: Handle,
    /// The names.
    pub symbols: Arc<Symbols>,
    /// The objects behind the names.
    pub catalog: Catalog,
    /// Those that are missing.
    pub wants: Wants,
    /// Connected agents.
    pub agents: Agents,
    /// What was found in files before.
    pub known: Arc<Known>,
    /// Where queries run.
    pub pool: CpuPool,
    /// How long one may take, waiting for its turn included.
    pub timeout: Duration,
    /// Memory of the process, mapped files not counted, past which they are refused, bytes.
    pub memory_limit: u64,
    /// Counters.
    pub metrics: Metrics,
    /// Start of the collector, Unix nanoseconds.
    pub start_unix_nanos: i64,
}

// === impl Known ===

impl Known {
    /// Nothing yet. `query_bytes` is the memory that queries may have.
    pub fn new(query_bytes: u64) -> Self {
        Self { sums: FileSums::new(query_bytes), functions: KnownFunctions::new(query_bytes) }
    }
}

// === impl Queries ===

impl Queries {
    /// Queries over these parts.
    pub fn new(parts: QueryParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Runs a query in the pool. When the caller goes away or time is up, the query is told to stop.
    async fn run<T: Send + 'static>(
        &self,
        method: Method,
        query: impl FnOnce(&QueryParts, &CancellationToken) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let started = std::time::Instant::now();
        let cancel = CancellationToken::new();
        let guard = cancel.clone().drop_guard();
        let parts = self.parts.clone();
        let job = self.parts.pool.run(move || query(&parts, &cancel));
        let result = match tokio::time::timeout(self.parts.timeout, job).await {
            Ok(Ok(result)) => result,
            Ok(Err(panicked)) => Err(QueryError::Internal(panicked.to_string())),
            Err(_) => Err(QueryError::Timeout(self.parts.timeout)),
        };
        // After an answer, work that it did not wait for goes on, for the next query.
        if result.is_ok() {
            guard.disarm();
        }
        self.parts.metrics.query(method, started.elapsed(), result.is_ok());
        result
    }
}

#[cfg(test)]
mod tests;
