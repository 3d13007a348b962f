//! Why a query has no answer, and how that is said over gRPC and HTTP.

use std::time::Duration;

use axum::http::StatusCode;
use fleetprof_proto::{selector::SelectorError, time_range::TimeError};
use thiserror::Error;
use tonic::Status;

/// A query without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// The request has no query.
    #[error("the request has no query: give it a range")]
    Missing,
    /// The range is empty, reversed or malformed.
    #[error("{0}")]
    Range(#[from] TimeError),
    /// The selector is malformed.
    #[error("{0}")]
    Selector(#[from] SelectorError),
    /// Something else is wrong with the request.
    #[error("{0}")]
    Invalid(String),
    /// Nothing matches.
    #[error("{0}")]
    NotFound(String),
    /// The answer would be too large.
    #[error("{0}")]
    TooLarge(String),
    /// The process has too much memory in use to go on.
    #[error(
        "the collector's memory is used up ({used} bytes, --memory-limit {limit}): ask for a shorter range or a narrower selector, or try again when fewer queries run"
    )]
    Memory {
        /// Bytes of its own.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// It took too long.
    #[error("the query took longer than {}: ask for a shorter range or a narrower selector, or raise --query-timeout", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// The store cannot be asked.
    #[error("the store cannot be read: {0}")]
    Store(String),
    /// The client went away.
    #[error("the query was cancelled")]
    Cancelled,
    /// A defect.
    #[error("internal error: {0}")]
    Internal(String),
}

// === impl QueryError ===

impl QueryError {
    /// The status code of HTTP.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Range(_) | Self::Selector(_) | Self::Invalid(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Memory { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Cancelled | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        let text = error.to_string();
        match error {
            QueryError::Missing
            | QueryError::Range(_)
            | QueryError::Selector(_)
            | QueryError::Invalid(_) => Self::invalid_argument(text),
            QueryError::NotFound(_) => Self::not_found(text),
            QueryError::TooLarge(_) | QueryError::Memory { .. } => Self::resource_exhausted(text),
            QueryError::Timeout(_) => Self::deadline_exceeded(text),
            QueryError::Cancelled => Self::cancelled(text),
            QueryError::Store(_) => Self::unavailable(text),
            QueryError::Internal(_) => Self::internal(text),
        }
    }
}
