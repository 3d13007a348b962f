//! Why a question has no answer: what tonic reports in, a cause and a remedy out.

use std::{error::Error as StdError, time::Duration};

use thiserror::Error;
use tonic::{Code, Status};

use super::{CollectorUrl, greeting::Greeting};
use crate::output::text;

/// Longest message of a peer that is repeated, characters.
const LONGEST_MESSAGE: usize = 2_000;

/// Why a question has no answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// No connection.
    #[error(
        "cannot reach the collector at {url}: {cause}\nis it running? set --collector or FLEETPROF_COLLECTOR to its address"
    )]
    Unreachable { url: CollectorUrl, cause: String },
    /// Something answers that speaks another language.
    #[error(
        "{url} answers, but not as a fleetprof collector: {cause}\nset --collector or FLEETPROF_COLLECTOR to the address of a collector of this version"
    )]
    NotACollector { url: CollectorUrl, cause: String },
    /// The connection broke during the answer.
    #[error("lost the collector at {url} during its answer: {cause}\ntry again; its log says why")]
    Lost { url: CollectorUrl, cause: String },
    /// Too slow.
    #[error(
        "no answer from the collector at {url} within {}\nask for less (a shorter --from … --to, a narrower selector) or wait longer (--timeout)",
        humantime::format_duration(*.limit)
    )]
    NoAnswer { url: CollectorUrl, limit: Duration },
    /// The question is wrong.
    #[error("the collector refuses the question: {0}")]
    Refused(String),
    /// The collector says that there is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The question is too large for the collector; it says in which way.
    #[error("the collector at {url} declines: {cause}")]
    Declined { url: CollectorUrl, cause: String },
    /// The collector cannot answer for now.
    #[error("the collector at {url} cannot answer for now: {cause}\ntry again later")]
    Busy { url: CollectorUrl, cause: String },
    /// The collector failed.
    #[error("the collector at {url} failed: {cause} ({code:?})\nits log says more")]
    Failed { url: CollectorUrl, cause: String, code: Code },
}

// === impl ClientError ===

impl ClientError {
    pub(super) fn unreachable(url: &CollectorUrl, error: &dyn StdError) -> Self {
        Self::Unreachable { url: url.clone(), cause: root_cause(error) }
    }

    pub(super) fn connect_timeout(url: &CollectorUrl, limit: Duration) -> Self {
        let cause = format!("no connection within {}", humantime::format_duration(limit));
        Self::Unreachable { url: url.clone(), cause }
    }

    pub(super) fn no_answer(url: &CollectorUrl, limit: Duration) -> Self {
        Self::NoAnswer { url: url.clone(), limit }
    }

    pub(super) fn cut_short(url: &CollectorUrl) -> Self {
        Self::Lost { url: url.clone(), cause: "the profile ended before its last part".to_owned() }
    }

    /// The peer took the connection and ended it.
    pub(super) fn hung_up(url: &CollectorUrl) -> Self {
        let cause = Greeting::Silence.complaint().unwrap_or_default().to_owned();
        Self::NotACollector { url: url.clone(), cause }
    }

    /// Sorts what a call ended with. A status with a source was made here, by the transport; one
    /// without came from the peer.
    pub(super) fn from_status(url: &CollectorUrl, greeting: Greeting, status: &Status) -> Self {
        let url = url.clone();
        if let Some(source) = status.source() {
            return match greeting.complaint() {
                Some(cause) => Self::NotACollector { url, cause: cause.to_owned() },
                None => Self::Lost { url, cause: root_cause(source) },
            };
        }
        let cause = readable(status.message());
        match status.code() {
            Code::Unimplemented => Self::NotACollector { url, cause },
            Code::InvalidArgument | Code::OutOfRange => Self::Refused(cause),
            Code::NotFound => Self::NotFound(cause),
            Code::ResourceExhausted | Code::DeadlineExceeded => Self::Declined { url, cause },
            Code::Unavailable => Self::Busy { url, cause },
            code => Self::Failed { url, cause, code },
        }
    }

    /// Whether asking in another way would help: the command line is wrong, not the collector.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// The innermost error: "Connection refused", not "transport error".
fn root_cause(error: &dyn StdError) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    readable(&innermost.to_string())
}

/// A peer's message, fit for a terminal and not without end.
fn readable(message: &str) -> String {
    let message = if message.trim().is_empty() { "it gives no reason" } else { message };
    let lines: Vec<_> = message.lines().map(text::clean).collect();
    lines.join("\n").chars().take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests;
