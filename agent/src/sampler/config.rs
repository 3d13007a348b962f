//! What the sampler is asked to do.

use std::path::PathBuf;

use super::error::SamplerError;

/// How to sample.
#[derive(Clone, Debug)]
pub struct SamplerConfig {
    /// Samples per second and CPU.
    pub frequency_hz: u32,
    /// Only this process (thread group id in the initial pid namespace); `None` = all.
    pub pid: Option<u32>,
    /// Bytes of the ring buffer for samples, rounded up to a power of two. `None` = room for about a
    /// second, so that a reader may be late ten times over, and for an eighth of one while every
    /// stack is copied.
    pub ring_bytes: Option<usize>,
    /// Bytes of each CPU's ring buffer for process events, rounded up to a power of two. Less where
    /// many CPUs would need more than 8 MiB together.
    pub process_ring_bytes: usize,
    /// Where build IDs of mapped files come from.
    pub build_ids: BuildIds,
    /// The kernel's type information.
    pub btf: PathBuf,
}

/// Where build IDs of mapped files come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BuildIds {
    /// The kernel tells them with each mapping (Linux 5.12 and newer): binaries that are gone before anybody could
    /// look at them are known, too. Meanwhile `perf record COMMAND` of others may abort on this host, or
    /// name wrong build IDs: the kernel marks the mappings that it tells perf in the same way
    #[default]
    Kernel,
    /// The agent reads them from the files, when code in them is first sampled
    Files,
}

/// CPU time in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// A typical record: the header, 15 kernel frames, 40 user frames.
const TYPICAL_RECORD: usize = 512;

/// The largest one, with a copied stack.
const COPIED_RECORD: usize = 26 * 1024;

/// Room for some dozens of copied stacks, too.
const MIN_RING: usize = 1024 * 1024;
const MAX_RING: usize = 64 * 1024 * 1024;
const MIN_PROCESS_RING: usize = 4 * 1024;
const MAX_PROCESS_RINGS: usize = 8 * 1024 * 1024;

impl SamplerConfig {
    /// Above this the kernel cannot keep the intervals: cpu-clock has a floor of 10 µs.
    pub const MAX_FREQUENCY_HZ: u32 = 10_000;

    /// CPU time one sample stands for, nanoseconds: the period the timer is set to.
    #[must_use]
    pub fn weight_ns(&self) -> u64 {
        let frequency = u64::from(self.frequency_hz.max(1));
        (SECOND_NS + frequency / 2) / frequency
    }

    /// Refuses what cannot work.
    pub(super) fn validate(&self) -> Result<(), SamplerError> {
        if self.frequency_hz == 0 || self.frequency_hz > Self::MAX_FREQUENCY_HZ {
            return Err(SamplerError::Frequency { frequency_hz: self.frequency_hz });
        }
        Ok(())
    }

    /// Size of the sample ring for a number of CPUs: a power of two.
    pub(super) fn ring_size(&self, cpus: usize) -> usize {
        let per_second = cpus.saturating_mul(self.frequency_hz as usize);
        let wanted = self.ring_bytes.unwrap_or_else(|| {
            let copied = per_second.saturating_mul(COPIED_RECORD) / 8;
            per_second.saturating_mul(TYPICAL_RECORD).max(copied).clamp(MIN_RING, MAX_RING / 4)
        });
        wanted.clamp(page_size(), MAX_RING).next_power_of_two()
    }

    /// Size of a process event ring for a number of CPUs: a power of two, at least a page.
    pub(super) fn process_ring_size(&self, cpus: usize) -> usize {
        let least = MIN_PROCESS_RING.max(page_size());
        // A power of two as well: half of the next one above.
        let share = ((MAX_PROCESS_RINGS / cpus.max(1)).max(1) + 1).next_power_of_two() / 2;
        self.process_ring_bytes.clamp(least, share.max(least)).next_power_of_two()
    }
}

fn page_size() -> usize {
    rustix::param::page_size()
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            frequency_hz: 19,
            pid: None,
            ring_bytes: None,
            // 500 programs started per second on one CPU write about 80 KiB in 100 ms.
            process_ring_bytes: 128 * 1024,
            build_ids: BuildIds::default(),
            btf: PathBuf::from("/sys/kernel/btf/vmlinux"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SamplerConfig;

    fn config(frequency_hz: u32) -> SamplerConfig {
        SamplerConfig { frequency_hz, ..SamplerConfig::default() }
    }

    #[test]
    fn a_second_of_samples_weighs_a_second() {
        for frequency in [1, 19, 97, 99, 997, 10_000] {
            let second = config(frequency).weight_ns() * u64::from(frequency);
            // Rounding to whole nanoseconds is all that is left.
            assert!(second.abs_diff(1_000_000_000) <= u64::from(frequency) / 2 + 1);
        }
    }

    #[test]
    fn impossible_frequencies_are_refused_with_the_limits() {
        for frequency in [0, 10_001] {
            let message = config(frequency).validate().unwrap_err().to_string();
            assert!(message.contains("10000"), "{message}");
        }
        config(19).validate().unwrap();
    }

    #[test]
    fn rings_are_powers_of_two_within_bounds() {
        assert_eq!(config(19).ring_size(2), 1024 * 1024);
        assert_eq!(config(19).ring_size(64), 4 * 1024 * 1024);
        assert_eq!(config(99).ring_size(128), 16 * 1024 * 1024);
        assert_eq!(config(10_000).ring_size(100_000), 16 * 1024 * 1024);
        let asked = SamplerConfig { ring_bytes: Some(5000), ..config(19) };
        assert_eq!(asked.ring_size(2), 8192);
        let tiny = SamplerConfig { process_ring_bytes: 1, ..config(19) };
        assert!(tiny.process_ring_size(2) >= 4096);
        assert_eq!(config(19).process_ring_size(2), 128 * 1024);
        assert_eq!(config(19).process_ring_size(64), 128 * 1024);
        assert_eq!(config(19).process_ring_size(96), 64 * 1024);
        assert_eq!(config(19).process_ring_size(512), 16 * 1024);
    }
}
