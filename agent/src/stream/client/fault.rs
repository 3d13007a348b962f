//! Why a stream could not be opened or ended: a cause to act upon, with the remedy. Pure.

use std::{error::Error, io, time::Duration};

use tonic::{Code, Status, transport};

/// What an operator has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::stream) enum Cause {
    Refused,
    Unresolved,
    Unreachable,
    Timeout,
    NotGrpc,
    NotCollector,
    Busy,
    Denied,
    NoAnswer,
    Ended,
    Other,
}

/// A cause and what exactly was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Fault {
    pub(in crate::stream) cause: Cause,
    pub(in crate::stream) detail: String,
}

// === impl Cause ===

impl Cause {
    pub(in crate::stream) fn sentence(self) -> &'static str {
        match self {
            Self::Refused => "nothing listens at this address",
            Self::Unresolved => "the host name cannot be resolved",
            Self::Unreachable => "the host cannot be reached",
            Self::Timeout => "the collector does not respond",
            Self::NotGrpc => "what listens there did not answer in gRPC",
            Self::NotCollector => "what listens there is not a fleetprof collector",
            Self::Busy => "the collector cannot store now",
            Self::Denied => "the collector denies access",
            Self::NoAnswer => "the collector does not acknowledge batches",
            Self::Ended => "the connection to the collector ended",
            Self::Other => "the stream failed",
        }
    }

    pub(in crate::stream) fn remedy(self) -> &'static str {
        match self {
            Self::Refused => "start fleetprof-collector there, or correct --collector",
            Self::Unresolved => "correct the host name in --collector, or the DNS",
            Self::Unreachable => {
                "check the route and the firewall between this host and the collector"
            }
            Self::Timeout => "check the collector's load, and the network to it",
            Self::NotGrpc | Self::NotCollector => {
                "correct --collector: it is the port of fleetprof-collector's --listen; \
                 a proxy between must pass HTTP/2"
            }
            Self::Busy => "see the collector's log; its disk may be full. The agent goes on trying",
            Self::Denied => "see the collector's access settings",
            Self::NoAnswer => "see the collector's log and the latency of its storage",
            Self::Ended => {
                "none if the collector was restarted; else see its log, and check the network"
            }
            Self::Other => "see the detail, and the collector's log",
        }
    }
}

// === impl Fault ===

impl Fault {
    fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }

    pub(in crate::stream) fn ended() -> Self {
        Self::new(Cause::Ended, "end of stream")
    }

    pub(in crate::stream) fn connect_timeout(after: Duration) -> Self {
        Self::new(Cause::Timeout, format!("no response to the connection within {after:?}"))
    }

    /// For a fault before gRPC said its first word: a web server that does not understand HTTP/2 just
    /// closes the connection.
    pub(in crate::stream) fn while_opening(mut self) -> Self {
        if self.cause == Cause::Ended {
            self.cause = Cause::NotGrpc;
        }
        self
    }

    pub(in crate::stream) fn no_answer(after: Duration) -> Self {
        Self::new(Cause::NoAnswer, format!("no batch was answered within {after:?}"))
    }
}

impl From<transport::Error> for Fault {
    fn from(error: transport::Error) -> Self {
        let cause = transport_cause(&error).unwrap_or(Cause::Other);
        Self::new(cause, chain(error.to_string(), &error))
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        let transport = status.source().and_then(transport_cause);
        let cause = transport.unwrap_or_else(|| match status.code() {
            Code::Unimplemented => Cause::NotCollector,
            Code::Unavailable | Code::ResourceExhausted => Cause::Busy,
            Code::Unauthenticated | Code::PermissionDenied => Cause::Denied,
            Code::DeadlineExceeded => Cause::Timeout,
            // An HTTP answer without the trailers of gRPC: some other web server.
            Code::Unknown if status.message().contains("HTTP status") => Cause::NotGrpc,
            Code::Cancelled => Cause::Ended,
            _ => Cause::Other,
        });
        let first = format!("{:?}: {}", status.code(), status.message());
        let detail = match status.source() {
            Some(source) => chain(first, source),
            None => first,
        };
        Self::new(cause, detail)
    }
}

type Source = dyn Error + 'static;

fn causes<'a>(error: &'a Source) -> impl Iterator<Item = &'a Source> {
    let next = |error: &&'a Source| -> Option<&'a Source> { (*error).source() };
    std::iter::successors(Some(error), next)
}

/// What the layers below gRPC say.
fn transport_cause(error: &Source) -> Option<Cause> {
    causes(error).find_map(|error| {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return io_cause(error);
        }
        let text = error.to_string();
        if text.contains("dns error") {
            return Some(Cause::Unresolved);
        }
        // The HTTP/2 layer's errors have no public type here; these texts are those of h2 0.4.
        if text.contains("frame with invalid size") || text.contains("FRAME_SIZE_ERROR") {
            return Some(Cause::NotGrpc);
        }
        if text.contains("broken pipe") || text.contains("connection reset") {
            return Some(Cause::Ended);
        }
        if text.contains("deadline has elapsed") || text.contains("keep-alive timed out") {
            return Some(Cause::Timeout);
        }
        None
    })
}

fn io_cause(error: &io::Error) -> Option<Cause> {
    use io::ErrorKind as Kind;
    Some(match error.kind() {
        Kind::ConnectionRefused => Cause::Refused,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => Cause::Unreachable,
        Kind::TimedOut => Cause::Timeout,
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => Cause::Ended,
        _ => return None,
    })
}

/// A text with what caused it, as one line; each text once.
fn chain(first: String, error: &Source) -> String {
    causes(error).map(ToString::to_string).fold(first, |line, text| {
        if line.contains(&text) { line } else { format!("{line}: {text}") }
    })
}
