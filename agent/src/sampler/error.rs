//! Why sampling cannot start or go on; each message names the cause and what helps.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use thiserror::Error;

use super::{btf::BtfError, config::SamplerConfig};

/// What can go wrong in the sampler.
#[derive(Debug, Error)]
pub enum SamplerError {
    /// Out of range.
    #[error(
        "sampling frequency {frequency_hz} Hz is out of range: choose 1 to {} Hz",
        SamplerConfig::MAX_FREQUENCY_HZ
    )]
    Frequency {
        /// What was asked for.
        frequency_hz: u32,
    },
    /// An array of the kernel side is full.
    #[error("no room for more {what} in the kernel's maps; longest unused ones make way")]
    NoRoom {
        /// What it holds.
        what: &'static str,
    },
    /// The process lacks capabilities.
    #[error(
        "not permitted to sample: {missing} missing; run as root, or grant CAP_BPF and CAP_PERFMON \
         (Linux 5.8 and later) or CAP_SYS_ADMIN, for example with `setcap` or in the container's \
         securityContext"
    )]
    NotPermitted {
        /// Names of the capabilities, for people.
        missing: String,
    },
    /// The kernel's type information cannot be read.
    #[error(
        "no kernel type information at {}: {source}; fleetprof needs a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y (every current distribution's is), and /sys visible in the container",
        path.display()
    )]
    NoBtf {
        /// Where it should be.
        path: PathBuf,
        /// Why it could not be read.
        source: io::Error,
    },
    /// The kernel's type information is not understood.
    #[error("kernel type information at {} is unusable: {source}", path.display())]
    BadBtf {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: BtfError,
    },
    /// A perf event cannot be opened, configured or mapped.
    #[error("{}; {}", perf_cause(action, *cpu, source), perf_remedy(source))]
    Perf {
        /// What was tried.
        action: &'static str,
        /// Where.
        cpu: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The object does not fit this kernel.
    #[error("{}; {DOCTOR}", object_cause(reported))]
    Object {
        /// What aya reported. Not a source: its text, with all of a verifier's log, would be shown again.
        reported: Box<EbpfError>,
    },
    /// The kernel refused a program.
    #[error("{}; {DOCTOR}", program_cause(program, reported))]
    Program {
        /// Name of the program.
        program: &'static str,
        /// What aya reported, with the verifier's log. Not a source, as above.
        reported: Box<ProgramError>,
    },
    /// The embedded object lacks a part: the build is broken.
    #[error("the embedded BPF object has no `{name}`; this build of fleetprof-agent is damaged")]
    Missing {
        /// Name of the map or program.
        name: &'static str,
    },
    /// A map cannot be used.
    #[error("cannot use the BPF map `{map}`: {}", chain(source))]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What aya reported.
        source: MapError,
    },
    /// The operating system refused something else.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SamplerError {
    /// The CPU went offline between the look at the set of CPUs and the call.
    pub(super) fn is_cpu_gone(&self) -> bool {
        matches!(self, Self::Perf { source, .. } if source.raw_os_error() == Some(libc::ENODEV))
    }

    /// Another CPU, or this one later, may do better: no descriptor or no memory was left for it, say.
    pub(super) fn is_of_one_cpu(&self) -> bool {
        matches!(self, Self::Perf { .. } | Self::Io { .. })
    }

    /// The cause alone, without what helps.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Perf { action, cpu, source } => perf_cause(action, *cpu, source),
            Self::Object { reported } => object_cause(reported),
            Self::Program { program, reported } => program_cause(program, reported),
            Self::NoBtf { source, .. } => source.to_string(),
            Self::BadBtf { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }
}

const DOCTOR: &str = "`fleetprof-agent doctor` says what this kernel lacks";

fn perf_cause(action: &str, cpu: u32, source: &io::Error) -> String {
    format!("cannot {action} on CPU {cpu}: {source}")
}

fn object_cause(source: &EbpfError) -> String {
    format!("cannot create the BPF maps: {}", chain(source))
}

fn program_cause(program: &str, source: &ProgramError) -> String {
    format!("the kernel refused the BPF program `{program}`: {}", last_lines(&chain(source)))
}

/// Lines of a verifier's log that are shown: the reason stands at its end.
const LOG_LINES: usize = 8;

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines.as_slice() {
        [first, rest @ ..] if rest.len() > LOG_LINES => {
            format!("{first}\n…\n{}", rest[rest.len() - LOG_LINES..].join("\n"))
        }
        _ => lines.join("\n"),
    }
}

/// A message with its causes, without repeating one that the message already includes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn perf_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            "grant CAP_PERFMON or CAP_SYS_ADMIN, or lower kernel.perf_event_paranoid; in a container \
             the seccomp profile must allow perf_event_open"
        }
        Some(libc::EMFILE) => "raise the limit of open files (`ulimit -n`, LimitNOFILE=)",
        Some(libc::ENOMEM) => "lower the ring buffer sizes or raise the memory limit",
        Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => {
            "this kernel lacks perf events (CONFIG_PERF_EVENTS)"
        }
        _ => DOCTOR,
    }
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn of_a_long_log_the_first_line_and_the_end_are_shown() {
        let log: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let shown = last_lines(&log);
        assert!(shown.starts_with("line 0\n") && shown.ends_with("line 99"), "{shown}");
        assert_eq!(shown.lines().count(), 10);
        assert_eq!(last_lines("short\n"), "short");
    }
}
