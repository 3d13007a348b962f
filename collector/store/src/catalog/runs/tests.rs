use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

fn runs(sequences: &[u64]) -> Runs {
    let mut runs = Runs::default();
    for sequence in sequences {
        runs.insert(*sequence);
    }
    runs
}

#[test]
fn an_instance_that_lost_nothing_takes_few_bytes() {
    assert_eq!(runs(&(1..=100_000).collect::<Vec<_>>()).encode().len(), 5);
}

#[test]
fn the_ends_of_all_numbers_are_sequences_like_others() {
    let ends = runs(&[u64::MAX, 0, u64::MAX - 1, 1]);
    assert_eq!(ends.runs, BTreeMap::from([(0, 1), (u64::MAX - 1, u64::MAX)]));
    assert_eq!(Runs::decode(&ends.encode()), Ok(ends));
}

#[test]
fn bytes_that_were_not_written_here_are_refused() {
    for (bytes, why) in [
        (&[2, 1, 0][..], "unknown version"),
        (&[1, 1], "end in the middle"),
        (&[1, 0x80], "end in the middle"),
        (&[1, 1, 0, 1, 0], "not in order"),
        (&[1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "beyond all numbers"),
    ] {
        let error = Runs::decode(bytes).expect_err("refused");
        assert!(error.contains(why), "{bytes:?}: {error}");
    }
    assert_eq!(Runs::decode(&[]), Ok(Runs::default()));
}

proptest! {
    /// Check that runs are a set of numbers: the same answers as a plain set, also when written and read
    /// at any time, and as few runs as there can be.
    #[test]
    fn runs_are_a_set(
        sequences in vec(prop_oneof![1..40u64, u64::MAX - 10..=u64::MAX, any::<u64>()], 0..80),
    ) {
        let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
        for sequence in sequences {
            prop_assert_eq!(runs.insert(sequence), set.insert(sequence));
            runs = Runs::decode(&runs.encode()).map_err(TestCaseError::fail)?;
        }
        prop_assert_eq!(runs.latest(), set.last().copied());
        for sequence in (0..42).chain(set.iter().flat_map(|it| [it.wrapping_sub(1), *it, it.wrapping_add(1)])) {
            prop_assert_eq!(runs.contains(sequence), set.contains(&sequence), "{}", sequence);
        }
        let starts = set.iter().filter(|it| it.checked_sub(1).is_none_or(|before| !set.contains(&before)));
        prop_assert_eq!(runs.runs.len(), starts.count());
    }

    /// Check that no bytes make it panic, and that what it reads is written the same.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..40)) {
        if let Ok(runs) = Runs::decode(&bytes) {
            prop_assert_eq!(Runs::decode(&runs.encode()), Ok(runs));
        }
    }
}
