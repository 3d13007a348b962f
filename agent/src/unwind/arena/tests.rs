use proptest::prelude::*;

use super::*;

#[test]
fn a_full_array_gives_nothing() {
    let mut arena = Arena::new(10);
    assert_eq!(arena.take(11), None);
    let whole = arena.take(10).unwrap();
    assert_eq!(arena.take(1), None);
    arena.release(whole);
    // Somebody may still read it.
    assert_eq!(arena.take(1), None);
    assert_eq!((arena.used(), arena.released()), (10, 10));
    arena.settle();
    assert_eq!(arena.take(10), Some(whole));
}

#[test]
fn neighbours_are_joined() {
    let mut arena = Arena::new(9);
    let runs: Vec<Run> = (0..3).map(|_| arena.take(3).unwrap()).collect();
    for index in [0, 2, 1] {
        arena.release(runs[index]);
        arena.settle();
    }
    assert_eq!(arena.take(9), Some(Run { first: 0, count: 9 }));
}

#[test]
fn nothing_needs_no_room() {
    let mut arena = Arena::new(0);
    let run = arena.take(0).unwrap();
    arena.release(run);
    arena.settle();
    assert_eq!(arena.used(), 0);
}

proptest! {
    /// Checks against an array of flags.
    #[test]
    fn runs_never_overlap(steps in prop::collection::vec((0_u32..20, any::<prop::sample::Index>()), 1..200)) {
        let mut arena = Arena::new(64);
        let mut taken: Vec<Run> = Vec::new();
        let mut used = [false; 64];
        for (count, index) in steps {
            if count < 12 {
                let expected = used.split(|used| *used).map(<[bool]>::len).max().unwrap_or(0);
                match arena.take(count) {
                    Some(run) => {
                        for entry in run.first..run.first + run.count {
                            prop_assert!(!std::mem::replace(&mut used[entry as usize], true));
                        }
                        taken.push(run);
                    }
                    None => prop_assert!(expected < count as usize),
                }
            } else if !taken.is_empty() {
                let run = taken.swap_remove(index.index(taken.len()));
                used[run.first as usize..(run.first + run.count) as usize].fill(false);
                arena.release(run);
                arena.settle();
            }
            prop_assert_eq!(arena.used() as usize, used.iter().filter(|used| **used).count());
        }
    }
}
