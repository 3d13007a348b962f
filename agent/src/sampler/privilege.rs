//! May this process sample?

use rustix::thread::{CapabilitySet, capabilities};

use super::error::SamplerError;

/// The capabilities in effect for this thread; none when they cannot be read.
pub(crate) fn effective() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// What of the right to sample is missing; `None` when nothing is.
pub(crate) fn missing_to_sample(effective: CapabilitySet) -> Option<String> {
    if effective.contains(CapabilitySet::SYS_ADMIN) {
        return None;
    }
    let needed = [(CapabilitySet::BPF, "CAP_BPF"), (CapabilitySet::PERFMON, "CAP_PERFMON")];
    let missing: Vec<&str> = needed
        .into_iter()
        .filter(|(capability, _)| !effective.contains(*capability))
        .map(|(_, name)| name)
        .collect();
    (!missing.is_empty()).then(|| missing.join(" and "))
}

/// An error when the kernel would refuse to load programs or to open events for all processes.
pub(super) fn check() -> Result<(), SamplerError> {
    missing_to_sample(effective())
        .map_or(Ok(()), |missing| Err(SamplerError::NotPermitted { missing }))
}

#[cfg(test)]
mod tests {
    use super::{CapabilitySet, missing_to_sample};

    #[test]
    fn either_the_new_capabilities_or_the_old_one_suffice() {
        assert_eq!(missing_to_sample(CapabilitySet::SYS_ADMIN), None);
        assert_eq!(missing_to_sample(CapabilitySet::BPF | CapabilitySet::PERFMON), None);
        assert_eq!(missing_to_sample(CapabilitySet::BPF).as_deref(), Some("CAP_PERFMON"));
        let both = missing_to_sample(CapabilitySet::SYS_PTRACE);
        assert_eq!(both.as_deref(), Some("CAP_BPF and CAP_PERFMON"));
    }
}
