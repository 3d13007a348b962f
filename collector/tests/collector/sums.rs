//! Sums by labels are remembered, file by file: answers are those of a collector that remembers nothing.

use std::{fs, path::Path, path::PathBuf};

use fleetprof_proto::{
    batch::{BatchBuilder, seal},
    ids::{BatchId, InstanceId, ObjectKind},
    v1::{
        Accounting, Coverage, LabelsRequest, SealedBatch, SeriesRequest, ServicesRequest,
        TopRequest, UnresolvedReason,
    },
};

use crate::support::{EPOCH, Running, SECOND, between, window};

/// An hour and more: there is a file for each hour.
const SEQUENCES: [u64; 4] = [1, 2, 400, 800];
const RANGE: (i64, i64) = (EPOCH, EPOCH + 10_000 * SECOND);

/// Two services, of which one has two versions and hosts of its own.
fn sealed(instance: InstanceId, sequence: u64) -> SealedBatch {
    let mut builder = BatchBuilder::new();
    let object = builder.object(ObjectKind::File, None, "/bin/app");
    let frame = builder.frame(object, 0x10, UnresolvedReason::NoBuildId);
    let stack = builder.stack([frame]);
    let (host, team) = (format!("host-{}", sequence % 3), format!("team-{}", sequence % 2));
    for (labels, samples) in [
        (vec![("service", "checkout"), ("version", "v1"), ("host", &*host)], 3),
        (vec![("service", "checkout"), ("version", "v2"), ("host", &*host)], 5),
        (vec![("service", "search"), ("version", "v2"), ("team", &*team)], 7),
        (vec![("service", "search"), ("zone", "z1")], 11),
    ] {
        let origin = builder.origin(labels);
        builder.add(origin, stack, 0, samples, samples * 10_000_000);
    }
    let batch = builder.finish(window(sequence), [], Accounting::default());
    seal(BatchId { instance, sequence }, &batch).expect("sealed")
}

/// A question, all of which look at labels alone.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// Of a selector: names of labels, or values of one.
    Labels(&'static str, &'static str),
    Services(&'static str),
    /// Of a selector: by a label.
    Series(&'static str, &'static str),
}

/// Each selector after another and back, so that what was remembered for one may be given to the next.
const QUESTIONS: [Ask; 16] = [
    Ask::Labels("", ""),
    Ask::Labels("", "version"),
    Ask::Labels("", "host"),
    Ask::Labels(r#"{service="checkout"}"#, ""),
    Ask::Labels(r#"{service="search"}"#, ""),
    Ask::Labels(r#"{service="search"}"#, "version"),
    Ask::Labels(r#"{service="checkout"}"#, "version"),
    Ask::Labels(r#"{version="v1"}"#, "version"),
    Ask::Labels(r#"{version="v2"}"#, ""),
    Ask::Labels(r#"{version=""}"#, "zone"),
    Ask::Labels(r#"{host!=""}"#, "host"),
    Ask::Services(r#"{version="v2"}"#),
    Ask::Services(r#"{version=~"v.", host="host-1"}"#),
    Ask::Series("", "version"),
    Ask::Series(r#"{service="checkout"}"#, "host"),
    Ask::Series(r#"{team="team-0"}"#, "version"),
];

/// The answer as text, and what it was made from.
async fn ask(collector: &Running, range: (i64, i64), question: Ask) -> (String, Coverage) {
    let mut queries = collector.queries().await;
    let query = |selector| between(range.0, range.1, selector);
    match question {
        Ask::Labels(selector, name) => {
            let request = LabelsRequest { query: query(selector), name: name.to_owned() };
            let mut answer = queries.labels(request).await.expect("answered").into_inner();
            let coverage = answer.coverage.take().expect("there");
            (format!("{answer:?}"), coverage)
        }
        Ask::Services(selector) => {
            let request = ServicesRequest { query: query(selector) };
            let mut answer = queries.services(request).await.expect("answered").into_inner();
            let coverage = answer.coverage.take().expect("there");
            (format!("{answer:?}"), coverage)
        }
        Ask::Series(selector, label) => {
            let request = SeriesRequest {
                query: query(selector),
                group_by: vec![label.to_owned()],
                step_nanos: 0,
                function: String::new(),
            };
            let mut answer = queries.series(request).await.expect("answered").into_inner();
            let coverage = answer.coverage.take().expect("there");
            (format!("{answer:?}"), coverage)
        }
    }
}

async fn filled() -> Running {
    let collector = Running::start().await;
    let mut agent = collector.agent().await;
    for sequence in SEQUENCES {
        agent.deliver(sealed(agent.instance, sequence)).await;
    }
    collector
}

/// The files of samples of a collector, by path.
fn samples_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("lists").path();
        if path.is_dir() {
            samples_files(&path, found);
        } else if path.to_string_lossy().ends_with(".samples.parquet") {
            found.push(path);
        }
    }
    found.sort();
}

/// Check that each question has the answer of a collector that was asked nothing before: when it is asked
/// again, after other questions, and of a range that cuts a file.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_a_fresh_collector() {
    let collector = filled().await;
    // The second ends in the middle of the third file, which must not be answered by what is known of it.
    let ranges = [RANGE, (EPOCH, EPOCH + 4_005 * SECOND), RANGE];
    let mut answers = Vec::new();
    for range in ranges {
        for question in QUESTIONS {
            answers.push(ask(&collector, range, question).await);
        }
    }
    let (first, again) = (&answers[..QUESTIONS.len()], &answers[2 * QUESTIONS.len()..]);
    assert_eq!(first, again);
    let all = &first[0].1;
    assert_eq!(all.samples, 26 * SEQUENCES.len() as u64);
    assert_eq!(answers[QUESTIONS.len()].1.samples, 26 * 2, "what ends later is not in it");
    assert!(first[1].0.contains(r#"["v1", "v2"]"#), "{}", first[1].0);

    let mut dir = collector.stop().await;
    for (number, question) in QUESTIONS.into_iter().enumerate() {
        let fresh = Running::start_with(dir, |_| {}).await;
        assert_eq!(ask(&fresh, RANGE, question).await, first[number], "{question:?}");
        dir = fresh.stop().await;
    }
}

/// Check that a damaged file is named whenever its sums are asked for: when nobody has read it before, and
/// when they are remembered from before it was damaged.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named() {
    let collector = filled().await;
    let mut files = Vec::new();
    samples_files(&collector.dir.path().join("data/profiles"), &mut files);
    let whole: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("reads")).collect();
    let damage = |number: usize| {
        let mut bytes = whole[number].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&files[number], bytes).expect("written");
    };
    damage(0);
    let versions = Ask::Labels("", "version");
    let before = ask(&collector, RANGE, versions).await.1;
    assert_eq!(before.damaged.len(), 1, "{before:?}");
    for question in [versions, Ask::Labels("", ""), Ask::Series("", "host"), versions] {
        let coverage = ask(&collector, RANGE, question).await.1;
        assert_eq!(coverage.damaged.len(), 1, "{question:?}: {coverage:?}");
        assert_eq!(coverage.samples, before.samples, "{question:?}");
    }
    assert!(before.samples < 26 * SEQUENCES.len() as u64);

    // The rest is remembered now. Whoever needs the bytes finds out, and so does everybody from then on.
    let last = files.len() - 1;
    damage(last);
    let request = TopRequest { query: between(RANGE.0, RANGE.1, ""), ..TopRequest::default() };
    let top = collector.queries().await.top(request).await.expect("answered").into_inner();
    assert_eq!(top.coverage.expect("there").damaged.len(), 2);
    for question in QUESTIONS {
        let coverage = ask(&collector, RANGE, question).await.1;
        assert_eq!(coverage.damaged.len(), 2, "{question:?}: {coverage:?}");
        assert!(coverage.samples < before.samples || before.samples == 0, "{question:?}");
    }
    collector.stop().await;
}
