use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::catalog::{Blob, FileId, FunctionFile, NewFile, ServiceSum};

fn row(level: Level, bucket: i64, samples: u64, rolled: bool) -> FileRow {
    let blob = Blob { path: format!("{}/{bucket}", level.as_str()), bytes: 1, crc32c: 0 };
    let file = NewFile {
        id: FileId::random(),
        level,
        bucket,
        service: None,
        samples: blob.clone(),
        stacks: blob,
        rows: 1,
        batches: 0,
        spans: vec![(bucket, bucket + level.span())],
        services: vec![ServiceSum { service: "s".to_owned(), samples, nanos: 1 }],
    };
    FileRow { file: file.into(), rolled, created: 0, damaged: None, functions: None }
}

fn wish(range: (i64, i64)) -> Wish {
    Wish { service: None, range, labels: Vec::new(), step: 0 }
}

fn chosen(files: &[FileRow], wish: &Wish) -> Vec<(Level, i64)> {
    let plan = choose(files, wish);
    plan.pieces.iter().map(|piece| (piece.file.file.level, piece.file.file.bucket / HOUR)).collect()
}

/// A day of which the first two hours are in the daily file, the third in an hourly one, the fourth as it
/// came, and late samples of the first in neither.
fn day() -> Vec<FileRow> {
    vec![
        row(Level::Fine, 0, 10, true),
        row(Level::Fine, HOUR, 20, true),
        row(Level::Fine, 2 * HOUR, 30, true),
        row(Level::Fine, 3 * HOUR, 40, false),
        row(Level::Fine, 0, 1, false),
        row(Level::Hourly, 0, 10, true),
        row(Level::Hourly, HOUR, 20, true),
        row(Level::Hourly, 2 * HOUR, 30, false),
        row(Level::Daily, 0, 30, false),
    ]
}

#[test]
fn a_whole_day_is_read_from_its_daily_file_and_what_is_not_in_it() {
    let chosen = chosen(&day(), &wish((0, DAY)));
    let expected = [(Level::Daily, 0), (Level::Fine, 0), (Level::Hourly, 2), (Level::Fine, 3)];
    assert_eq!(chosen, expected);
}

#[test]
fn a_part_of_a_day_is_read_from_hourly_files() {
    let chosen = chosen(&day(), &wish((0, 4 * HOUR)));
    let expected = [
        (Level::Hourly, 0),
        (Level::Fine, 0),
        (Level::Hourly, 1),
        (Level::Hourly, 2),
        (Level::Fine, 3),
    ];
    assert_eq!(chosen, expected);
}

#[test]
fn what_only_fine_files_can_tell_is_read_from_them() {
    let fine =
        [(Level::Fine, 0), (Level::Fine, 0), (Level::Fine, 1), (Level::Fine, 2), (Level::Fine, 3)];
    let host = Wish { labels: vec!["host".to_owned()], ..wish((0, DAY)) };
    assert_eq!(chosen(&day(), &host), fine);
    let steps = Wish { step: MINUTE / 6, ..wish((0, DAY)) };
    assert_eq!(chosen(&day(), &steps), fine);
    assert_eq!(choose(&day(), &host).lacks, Vec::<String>::new());
    // `version` is kept everywhere.
    let version = Wish { labels: vec!["version".to_owned()], ..wish((0, DAY)) };
    assert_eq!(chosen(&day(), &version)[0], (Level::Daily, 0));
}

#[test]
fn what_is_not_kept_any_more_is_read_coarser_and_labels_that_lacks_are_named() {
    let mut files = day();
    files.retain(|row| row.file.level != Level::Fine || row.file.bucket > HOUR || !row.rolled);
    let host = Wish { labels: vec!["host".to_owned()], ..wish((0, DAY)) };
    let expected = [
        (Level::Hourly, 0),
        (Level::Fine, 0),
        (Level::Hourly, 1),
        (Level::Fine, 2),
        (Level::Fine, 3),
    ];
    assert_eq!(chosen(&files, &host), expected);
    let lacks = choose(&files, &host).lacks;
    assert_eq!(lacks.len(), 2, "{lacks:?}");
    assert!(lacks[0].contains("host") && lacks[0].contains("hourly"), "{lacks:?}");

    files.retain(|row| row.file.level != Level::Hourly || !row.rolled);
    let expected = [(Level::Daily, 0), (Level::Fine, 0), (Level::Hourly, 2), (Level::Fine, 3)];
    assert_eq!(chosen(&files, &wish((0, 4 * HOUR))), expected);
}

#[test]
fn what_is_missing_of_one_service_is_not_made_up_for_by_another() {
    let mut files = vec![row(Level::Fine, 0, 100, true), row(Level::Hourly, 0, 10, false)];
    Arc::make_mut(&mut files[0].file).services[0].service = "other".to_owned();
    let labels = vec!["host".to_owned()];
    let of_one = Wish { labels, service: Some("s".to_owned()), ..wish((0, DAY)) };
    assert_eq!(chosen(&files, &of_one), [(Level::Hourly, 0)]);
    assert_eq!(chosen(&files, &Wish { service: None, ..of_one }), [(Level::Fine, 0)]);
}

#[test]
fn a_damaged_file_is_named_and_not_read() {
    let mut files = day();
    files[8].damaged = Some("is gone".to_owned());
    let plan = choose(&files, &wish((0, DAY)));
    assert_eq!(plan.lacks, ["daily/0: is gone"]);
    assert!(plan.pieces.iter().all(|piece| piece.file.file.level != Level::Daily));
}

/// What can happen to the files of two days: hours arrive, are merged upwards, and expire.
fn history() -> impl Strategy<Value = Vec<FileRow>> {
    let hour = (1_u64..100, 0_u64..3, 0_u8..3, any::<bool>());
    proptest::collection::vec(hour, 48).prop_map(|hours| {
        let mut files = Vec::new();
        let mut days = [0_u64; 2];
        for (at, (samples, late, state, expired)) in hours.into_iter().enumerate() {
            let bucket = at as i64 * HOUR;
            if late > 0 {
                files.push(row(Level::Fine, bucket, late, false));
            }
            if state == 0 || !expired {
                files.push(row(Level::Fine, bucket, samples, state > 0));
            }
            if state == 1 || (state == 2 && !expired) {
                files.push(row(Level::Hourly, bucket, samples, state > 1));
            }
            if state == 2 {
                days[at / 24] += samples;
            }
        }
        // An expired hour of a day takes all rolled hourly files of it with it, as retention does.
        for (day, samples) in days.into_iter().enumerate() {
            if samples > 0 {
                files.push(row(Level::Daily, day as i64 * DAY, samples, false));
            }
        }
        files
    })
}

proptest! {
    /// Check that every wish that covers everything reads each sample once, whatever was merged or has
    /// expired.
    #[test]
    fn each_sample_is_read_once(files in history(), host in any::<bool>()) {
        let labels = if host { vec!["host".to_owned()] } else { Vec::new() };
        let plan = choose(&files, &Wish { labels, ..wish((0, 2 * DAY)) });
        let read: u64 = plan.pieces.iter().map(|piece| piece.file.file.sample_count()).sum();
        // At the coarsest level that has it, each sample is there once.
        let once: u64 = files
            .iter()
            .filter(|row| !row.rolled)
            .map(|row| row.file.sample_count())
            .sum();
        prop_assert_eq!(read, once);
    }
}

proptest! {
    /// Check that nothing is missed of days of which only what is in no daily file was asked of the catalog,
    /// also where daily files have expired before what they were made from.
    #[test]
    fn whole_days_need_nothing_that_was_merged(
        mut files in history(), lost in 0_i64..3, range in (0..3 * DAY, 0..3 * DAY),
    ) {
        files.retain(|row| row.file.level != Level::Daily || row.file.bucket != lost * DAY);
        let wish = wish((range.0.min(range.1), range.0.max(range.1) + 1));
        let whole = wish.whole_days();
        let asked = |row: &&FileRow| !is_of_days(row, whole) || !row.rolled;
        let mut some: Vec<FileRow> = files.iter().filter(asked).cloned().collect();
        for days in days_without_daily(&some, whole) {
            some.retain(|row| !is_of_days(row, days));
            some.extend(files.iter().filter(|row| is_of_days(row, days)).cloned());
        }
        let ids = |files: &[FileRow]| {
            let pieces = choose(files, &wish).pieces;
            pieces.iter().map(|piece| piece.file.file.id).collect::<BTreeSet<_>>()
        };
        prop_assert_eq!(ids(&some), ids(&files));
    }
}

/// Check that functions files stand for what they know: whole hours, and what there is of an hour.
#[test]
fn functions_stand_for_whole_hours() {
    let blob = || Blob { path: String::new(), bytes: 1, crc32c: 0 };
    let functions =
        Arc::new(FunctionFile { id: FileId::random(), blob: blob(), end: 1, covers: 3 });
    let with = |level, bucket, spans: (i64, i64)| {
        let mut row = row(level, bucket, 1, false);
        Arc::make_mut(&mut row.file).spans = vec![spans];
        row.functions = Some(functions.clone());
        row
    };
    let second = MINUTE / 60;
    let hour = || with(Level::Hourly, HOUR, (HOUR + 90 * second, HOUR + 150 * second));
    let day = || with(Level::Daily, 0, (HOUR, 20 * HOUR));
    for (file, range, step, expected) in [
        (hour(), (HOUR, 2 * HOUR), 0, Some(None)),
        (hour(), (HOUR, 2 * HOUR), 2 * HOUR, Some(None)),
        (hour(), (HOUR, 2 * HOUR), HOUR / 2, None),
        // All there is.
        (hour(), (HOUR + MINUTE, HOUR + 3 * MINUTE), 0, Some(None)),
        // The middle of the last minute is not in it.
        (hour(), (HOUR + MINUTE, HOUR + 149 * second), 0, None),
        (hour(), (HOUR + 2 * MINUTE, 2 * HOUR), 0, None),
        (day(), (0, DAY), 0, Some(None)),
        (day(), (2 * HOUR, DAY), 0, Some(Some((2 * HOUR, DAY)))),
    ] {
        let piece = Piece { file, range };
        let (found, others) = split_functions(vec![piece], step);
        assert_eq!(found.first().map(|piece| piece.hours), expected, "{range:?} {step}");
        assert_eq!(found.len() + others.len(), 1);
    }
    // Of two pairs, each is read for its own part.
    let whole = Piece { file: day(), range: (HOUR, 23 * HOUR) };
    let part = Piece { file: with(Level::Daily, 0, (0, DAY)), range: (HOUR, 23 * HOUR) };
    let (found, others) = split_functions(vec![whole, part], 0);
    assert_eq!((found.len(), others.len()), (2, 0));
    assert_eq!(found[0].wanted(None).files.map(|files| files.len()), Some(1));
}
