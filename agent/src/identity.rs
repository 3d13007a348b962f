//! Who a process is: evidence gathered from `/proc` in, labels out. Pure: reads nothing itself.
//!
//! Rules for `service`, first match wins:
//! 1. `OTEL_SERVICE_NAME`, then `service.name` in `OTEL_RESOURCE_ATTRIBUTES`: what the owner says.
//! 2. The systemd unit, or the name of a named container, from the cgroup.
//! 3. The executable's file name.
//! 4. The thread name of a process that was gone before anything else could be read.
//!
//! A container that is known only by its hexadecimal id becomes the `container` label and not the
//! service: a service per container id would be a new service at every deploy.

mod cgroup;
mod resource;

pub use cgroup::{Placement, placement};
pub use resource::resource_attributes;

use fleetprof_proto::labels;

/// The service of kernel threads.
pub const KERNEL_SERVICE: &str = "[kernel]";

/// Longest label value kept, bytes: environments are untrusted.
const MAX_VALUE_BYTES: usize = 256;

/// What is known about a process. Every part may be missing: it may be gone already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// Target of `/proc/PID/exe`.
    pub exe: Option<&'a str>,
    /// Name of the main thread.
    pub comm: &'a str,
    /// A kernel thread: no memory of its own.
    pub kernel_thread: bool,
    /// Content of `/proc/PID/cgroup`.
    pub cgroup: Option<&'a str>,
    /// Value of `OTEL_SERVICE_NAME` in its environment.
    pub otel_service_name: Option<&'a str>,
    /// Value of `OTEL_RESOURCE_ATTRIBUTES`.
    pub otel_resource_attributes: Option<&'a str>,
}

/// Labels of a process, `service` first and always present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    labels: Vec<(&'static str, String)>,
}

/// Resource attributes (OpenTelemetry semantic conventions) that become labels.
const ATTRIBUTE_LABELS: [(&str, &str); 4] = [
    ("service.version", labels::VERSION),
    ("k8s.namespace.name", labels::NAMESPACE),
    ("k8s.pod.name", labels::POD),
    ("telemetry.sdk.language", labels::RUNTIME),
];

// === impl Identity ===

impl Identity {
    /// Applies the rules.
    pub fn resolve(evidence: &Evidence<'_>) -> Self {
        let attributes = evidence.otel_resource_attributes.map(resource_attributes);
        let attribute = |name: &str| {
            let (_, value) = attributes.as_ref()?.iter().find(|(n, _)| n == name)?;
            (!value.is_empty()).then(|| value.clone())
        };
        let placement = evidence.cgroup.map(placement).unwrap_or_default();
        let told = evidence.otel_service_name.map(str::trim).filter(|name| !name.is_empty());
        let service = told
            .map(str::to_owned)
            .or_else(|| attribute("service.name"))
            .or_else(|| evidence.kernel_thread.then(|| KERNEL_SERVICE.to_owned()))
            .or(placement.name)
            .or_else(|| evidence.exe.and_then(executable_name).map(str::to_owned))
            .unwrap_or_else(|| evidence.comm.to_owned());
        let mut labels = vec![(labels::SERVICE, bounded(service))];
        labels.extend(placement.container.map(|id| (labels::CONTAINER, bounded(id))));
        for (name, label) in ATTRIBUTE_LABELS {
            labels.extend(attribute(name).map(|value| (label, bounded(value))));
        }
        Self { labels }
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.labels[0].1
    }

    /// All labels, as (name, value).
    pub fn into_labels(self) -> Vec<(&'static str, String)> {
        self.labels
    }
}

/// File name of an executable; `None` where there is none.
fn executable_name(exe: &str) -> Option<&str> {
    let exe = exe.strip_suffix(" (deleted)").unwrap_or(exe);
    exe.rsplit('/').next().filter(|name| !name.is_empty())
}

/// Control characters out, length capped at a character boundary, never empty.
fn bounded(value: String) -> String {
    let mut value = if value.chars().any(char::is_control) {
        value.replace(char::is_control, "_")
    } else {
        value
    };
    let mut end = value.len().min(MAX_VALUE_BYTES);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.truncate(end);
    if value.is_empty() { "unknown".to_owned() } else { value }
}

#[cfg(test)]
mod tests;
