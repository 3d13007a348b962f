use proptest::{collection::vec, prelude::*};

use super::*;

#[test]
fn spans_that_are_none_are_refused() {
    for (spans, why) in [
        (&[][..], "no span"),
        (&[(5, 5)], "empty"),
        (&[(5, 4)], "empty"),
        (&[(1, 5), (4, 6)], "not in order"),
    ] {
        assert!(encode(spans).expect_err("refused").contains(why), "{spans:?}");
    }
    for bytes in [&[][..], &[1, 0], &[2; 12], &[1, 0, 0, 0, 0, 0, 0, 0, 0]] {
        decode(bytes).expect_err("refused");
    }
}

#[test]
fn spans_may_be_as_wide_as_time() {
    for spans in [vec![(i64::MIN, i64::MAX)], vec![(-1, 0), (0, 1), (i64::MAX - 1, i64::MAX)]] {
        assert_eq!(decode(&encode(&spans).expect("encodes")), Ok(spans));
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(start in any::<i32>(), steps in vec((0..1_000_000u32, 1..1_000_000u32), 1..50)) {
        let mut end = i64::from(start);
        let mut spans = Vec::new();
        for (gap, length) in steps {
            let start = end + i64::from(gap);
            end = start + i64::from(length);
            spans.push((start, end));
        }
        prop_assert_eq!(decode(&encode(&spans).map_err(TestCaseError::fail)?), Ok(spans));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..40)) {
        let _ = decode(&bytes);
    }
}
