use super::*;
use crate::catalog::{Blob, FileId, NewFile, ServiceSum};

fn row(level: Level, bucket: i64, services: &[&str], rows: u64, rolled: bool) -> FileRow {
    let blob = Blob { path: String::new(), bytes: 1, crc32c: 0 };
    let sum = |service: &&str| ServiceSum { service: (*service).to_owned(), samples: 1, nanos: 1 };
    let only = (level != Level::Fine && services.len() == 1).then(|| services[0].to_owned());
    let file = NewFile {
        id: FileId::random(),
        level,
        bucket,
        service: only,
        samples: blob.clone(),
        stacks: blob,
        rows,
        batches: 1,
        spans: vec![(bucket, bucket + 1)],
        services: services.iter().map(sum).collect(),
    };
    FileRow { file: file.into(), rolled, created: bucket, damaged: None, functions: None }
}

fn fine(bucket: i64, rolled: bool) -> FileRow {
    row(Level::Fine, bucket, &["a", "b"], 10, rolled)
}

const LIMITS: MergeLimits =
    MergeLimits { grace: 2 * MINUTE, delay: 5 * MINUTE, files: 4, rows: 100 };

/// The jobs as text: what becomes what, of how many files.
fn jobs(files: &[FileRow], now: i64) -> Vec<String> {
    let text = |job: &Job| {
        let verb = match job {
            Job::Merge { .. } => "merge",
            Job::Roll { .. } => "roll",
        };
        format!("{verb} {} {}", job.level().as_str(), job.inputs().len())
    };
    due(files, now, &LIMITS).iter().map(text).collect()
}

#[test]
fn what_arrived_is_rolled_after_a_while_and_when_its_hour_is_over() {
    let files = [fine(0, false), fine(0, false)];
    assert_eq!(jobs(&files, 4 * MINUTE), [""; 0]);
    assert_eq!(jobs(&files, 5 * MINUTE), ["roll hourly 2"]);
    let late: Vec<_> = files.into_iter().map(|row| FileRow { created: HOUR, ..row }).collect();
    assert_eq!(jobs(&late, HOUR + MINUTE), [""; 0]);
    assert_eq!(jobs(&late, HOUR + 2 * MINUTE), ["roll hourly 2"]);
    let crowd: Vec<_> = (0..64).map(|_| fine(0, false)).collect();
    let rolls = ["roll hourly 20", "roll hourly 20", "roll hourly 20", "roll hourly 4"];
    assert_eq!(jobs(&crowd, MINUTE), rolls, "200 rows at a time");
}

#[test]
fn small_fine_files_are_merged_when_there_are_many_or_their_hour_is_over() {
    let files: Vec<_> = (0..3).map(|_| fine(0, true)).collect();
    assert_eq!(jobs(&files, MINUTE), [""; 0]);
    assert_eq!(jobs(&files, 2 * HOUR), ["merge fine 3"]);
    let more: Vec<_> = (0..13).map(|_| fine(0, true)).collect();
    assert_eq!(jobs(&more, MINUTE), ["merge fine 10", "merge fine 3"]);
    assert_eq!(jobs(&more[..1], 2 * HOUR), [""; 0]);
    let large = [row(Level::Fine, 0, &["a"], 50, true), row(Level::Fine, 0, &["a"], 50, true)];
    assert_eq!(jobs(&large, 2 * HOUR), [""; 0]);
}

#[test]
fn hours_are_split_by_service_once_everything_is_in_them() {
    let mut files = vec![row(Level::Hourly, 0, &["a", "b"], 1, false)];
    assert_eq!(jobs(&files, 30 * MINUTE), [""; 0]);
    assert_eq!(jobs(&files, 2 * HOUR), ["merge hourly 1"]);
    files.push(row(Level::Hourly, 0, &["a"], 1, false));
    files.push(row(Level::Hourly, 0, &["c"], 1, false));
    assert_eq!(jobs(&files, 2 * HOUR), ["merge hourly 2"], "c is alone already");
    files.push(FileRow { created: 2 * HOUR, ..fine(0, false) });
    assert_eq!(jobs(&files, 2 * HOUR), ["roll hourly 1"], "something is still to come");
    // What is in the daily level is not mixed with what is not.
    let files = [row(Level::Hourly, 0, &["a"], 1, true), row(Level::Hourly, 0, &["a"], 1, false)];
    assert_eq!(jobs(&files, 2 * HOUR), [""; 0]);
}

#[test]
fn days_are_made_of_whole_hours_a_service_each() {
    let hour = |at: i64, service: &str| row(Level::Hourly, at * HOUR, &[service], 1, false);
    let mut files = vec![hour(0, "a"), hour(1, "a"), hour(23, "b")];
    assert_eq!(jobs(&files, DAY), [""; 0]);
    assert_eq!(jobs(&files, DAY + 4 * MINUTE), ["roll daily 2", "roll daily 1"]);
    files.push(hour(0, "a"));
    assert_eq!(jobs(&files, 2 * DAY), ["merge hourly 2", "roll daily 1"], "the first is two files");
    files.push(row(Level::Hourly, 5 * HOUR, &["a", "b"], 1, false));
    assert_eq!(jobs(&files, 2 * DAY), ["merge hourly 2", "merge hourly 1"]);
    let twice = [row(Level::Daily, 0, &["a"], 1, false), row(Level::Daily, 0, &["a"], 1, false)];
    assert_eq!(jobs(&twice, 2 * DAY), ["merge daily 2"]);
}

#[test]
fn damaged_files_are_left_alone() {
    let mut files = [fine(0, false), fine(0, false)];
    files[0].damaged = Some("gone".to_owned());
    assert_eq!(jobs(&files, 2 * HOUR), ["roll hourly 1"]);
}

/// Check that every service is in one pass, small ones in one with others, and large ones alone.
#[test]
fn inputs_are_read_once_for_many_small_services() {
    let merge = |inputs| Job::Merge { level: Level::Hourly, bucket: 0, rolled: false, inputs };
    let hourly = |services: &[&str], rows| row(Level::Hourly, 0, services, rows, false);
    let small = merge(vec![hourly(&["a", "b", "c"], 30), hourly(&["b", "c", "d"], 30)]);
    let pass = |services: &[&str]| Some(services.iter().map(|it| (*it).to_owned()).collect());
    assert_eq!(small.passes(), [pass(&["a", "b", "c", "d"])]);
    let large = merge(vec![hourly(&["a", "b", "c"], 2 * PASS_ROWS), hourly(&["d"], 7)]);
    assert_eq!(large.passes(), [pass(&["a"]), pass(&["b"]), pass(&["c", "d"])]);
    let together = Job::Roll { level: Level::Hourly, bucket: 0, inputs: vec![fine(0, false)] };
    assert_eq!(together.passes(), [None]);
}
