//! Which CPUs there are.
//!
//! In: `/sys/devices/system/cpu/online` and the like. Out: sets of CPU numbers.

use std::{collections::BTreeSet, fs, io};

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// More CPUs than any kernel supports: a bound for what a damaged file can claim.
const MAX_CPUS: u32 = 64 * 1024;

/// The CPUs that are online now.
pub(super) fn online() -> io::Result<BTreeSet<u32>> {
    let text = fs::read_to_string(ONLINE)?;
    parse_list(&text).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{ONLINE} is not a list of CPUs"))
    })
}

/// Parses the kernel's list format: `0-3,8,10-11`.
fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if first > last || last >= MAX_CPUS {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::{online, parse_list};

    #[test]
    fn ranges_and_single_cpus_are_read() {
        let cpus: Vec<u32> = parse_list("0-2,5,7-8\n").unwrap().into_iter().collect();
        assert_eq!(cpus, [0, 1, 2, 5, 7, 8]);
        assert!(parse_list("\n").unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a", "1-", "3-1", "0-4294967295", "-1"] {
            assert_eq!(parse_list(text), None, "{text}");
        }
    }

    #[test]
    fn this_machine_has_a_cpu() {
        assert!(!online().unwrap().is_empty());
    }
}
