use crate::{COUNTERS, Fate, ResultCode, TAKEN, counter_of};

#[test]
fn numbers_are_dense_and_round_trip() {
    for (index, code) in ResultCode::ALL.iter().enumerate() {
        assert_eq!(usize::from(code.number()), index);
        assert_eq!(ResultCode::from_number(code.number()), Some(*code));
    }
    assert_eq!(ResultCode::from_number(ResultCode::ALL.len() as u16), None);
}

#[test]
fn names_are_distinct_metric_labels_and_sentences_end() {
    for (index, code) in ResultCode::ALL.iter().enumerate() {
        assert!(code.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        assert!(code.sentence().ends_with('.'));
        assert!(ResultCode::ALL[index + 1..].iter().all(|other| other.name() != code.name()));
    }
}

#[test]
fn every_code_has_a_counter_of_its_own_beside_taken() {
    let mut seen = [false; COUNTERS as usize];
    seen[TAKEN as usize] = true;
    for code in ResultCode::ALL {
        assert!(!core::mem::replace(&mut seen[counter_of(*code) as usize], true));
    }
    assert!(seen.iter().all(|slot| *slot));
}

#[test]
fn stored_numbers_stay_what_they_were() {
    // Collectors keep these numbers: a change here is a change of format.
    assert_eq!(ResultCode::Complete.number(), 0);
    assert_eq!(ResultCode::FramePointers.number(), 2);
    assert_eq!(ResultCode::RingFull.number(), 8);
    assert_eq!(ResultCode::RingFull.fate(), Fate::Dropped);
    assert_eq!(ResultCode::UserTruncated.fate(), Fate::Delivered);
}
