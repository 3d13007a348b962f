use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use fleetprof_proto::{
    batch::{Batch, Limits, Window, open, seal},
    ids::{BatchId, InstanceId},
    v1::Accounting,
};

use super::{Painter, Part, poisson};
use crate::{
    pprof::{Line, Location, Mapping},
    sim::{Captured, Frames, Library, Plan, PlanConfig, capture::CapturedStack},
};

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;

/// `main` calls each of 200 functions in the program, one of them much hotter; all end in libc.
fn captured(name: &str) -> Captured {
    let location = |file: &str, offset: u64| {
        let line = Line {
            function: format!("{name}_{offset}"),
            system_name: String::new(),
            file: String::new(),
            line: 1,
        };
        Arc::new(Location {
            address: offset,
            offset,
            mapping: Some(Mapping { file: file.to_owned(), build_id: "aabb".to_owned() }),
            lines: vec![line],
        })
    };
    let program = format!("/bin/{name}");
    let stacks = (1..=200).map(|number| CapturedStack {
        comm: format!("worker-{}", number % 2),
        weight: if number == 7 { 200 } else { 1 },
        locations: vec![
            location("/lib/libc.so.6", 0x99),
            location(&program, 0x1000 + number),
            location(&program, 0x10),
        ],
    });
    Captured { name: name.to_owned(), stacks: stacks.collect() }
}

fn fleet(frames: Frames) -> (Arc<Library>, Arc<Plan>) {
    let library = Arc::new(Library::new(&[captured("shop"), captured("find")], frames));
    let config =
        PlanConfig { hosts: 12, services: 6, services_per_host: 3, ..PlanConfig::default() };
    let plan = Arc::new(Plan::new(config, &library));
    (library, plan)
}

/// A batch and what is said of it.
struct Painted {
    batch: Batch,
    parts: Vec<Part>,
    distinct: usize,
}

/// One window of every host, a long one.
fn paint(library: &Arc<Library>, plan: &Arc<Plan>, start: i64) -> Vec<Painted> {
    let mut painter = Painter::new(Arc::clone(library), Arc::clone(plan));
    let mut random = fastrand::Rng::with_seed(3);
    let window = Window { start_unix_nanos: start, end_unix_nanos: start + 60 * SECOND };
    let painted = plan.hosts.iter().map(|host| {
        let mut body = painter.paint(host, window, &mut random, |_, _| {});
        let accounting = Accounting { taken: body.samples, ..Accounting::default() };
        let tail = || body.tail(library, plan, host, window, accounting.clone());
        let batch = body.batch(tail()).expect("valid");
        // Glued from two frames it is the same.
        let (tail, id) = (tail(), BatchId { instance: InstanceId::random(), sequence: 1 });
        body.pack().expect("memory");
        let glued = body.glue(id, &tail).expect("memory").expect("packed");
        let sealed = seal(id, &batch).expect("memory");
        let [glued, sealed] = [glued, sealed].map(|it| open(&it, Limits::default()));
        assert_eq!(glued.expect("valid"), sealed.expect("valid"));
        Painted { batch, parts: body.parts, distinct: body.distinct }
    });
    painted.collect()
}

/// Build IDs of a service's own program, by service, as batches have them.
fn own_ids(batches: &[Painted]) -> HashMap<String, BTreeSet<String>> {
    let mut ids: HashMap<String, BTreeSet<String>> = HashMap::new();
    for batch in batches.iter().map(|painted| &painted.batch) {
        for row in batch.samples() {
            let labels: BTreeMap<_, _> = batch.origin_labels(row.origin).collect();
            for frame in batch.stack_frames(row.stack).map(|frame| batch.frame(frame)) {
                let id = frame.build_id.expect("all have one").to_string();
                if frame.path.starts_with("/bin") {
                    ids.entry(labels["service"].to_owned()).or_default().insert(id);
                } else {
                    assert_eq!(id, "aabb", "libc is everybody's");
                }
            }
        }
    }
    ids
}

/// Check that the parts say what the batch holds: the books of a whole fleet rest on that.
#[test]
fn parts_are_what_the_batch_holds() {
    let (library, plan) = fleet(Frames::Addresses);
    for painted in paint(&library, &plan, DAY) {
        let batch: &Batch = &painted.batch;
        let mut held: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for row in batch.samples() {
            let labels: BTreeMap<_, _> = batch.origin_labels(row.origin).collect();
            let sum = held.entry(labels["service"].to_owned()).or_default();
            *sum = (sum.0 + row.count, sum.1 + row.nanos);
        }
        let parts = painted
            .parts
            .iter()
            .map(|part| (plan.services[part.service].name.clone(), (part.samples, part.nanos)));
        assert_eq!(held, parts.collect());
        assert_eq!(batch.wire().accounting.as_ref().map(|a| a.taken), Some(batch.sample_total()));
        assert_eq!(batch.samples().count(), painted.distinct);
    }
}

/// Check that stacks are the captured ones, as often as they were.
#[test]
fn stacks_are_the_captured_ones() {
    let (library, plan) = fleet(Frames::Names);
    let mut counts: HashMap<Vec<String>, u64> = HashMap::new();
    for painted in paint(&library, &plan, DAY) {
        let batch = &painted.batch;
        for row in batch.samples() {
            let frames =
                batch.stack_frames(row.stack).map(|frame| batch.frame(frame).fallback_name());
            *counts.entry(frames.collect()).or_default() += row.count;
        }
    }
    let hot = vec!["shop_153".to_owned(), "shop_4103".to_owned(), "shop_16".to_owned()];
    let shop: u64 = counts.iter().filter(|(s, _)| s[0] == "shop_153").map(|(_, count)| count).sum();
    let share = counts[&hot] as f64 / shop as f64;
    assert!((share - 200.0 / 399.0).abs() < 0.03, "{share} of {shop}");
    assert_eq!(counts.len(), 400);
    assert!(counts.keys().all(|stack| stack.len() == 3 && stack[2].ends_with("_16")), "{counts:?}");
}

/// Check that all hosts of a service have the same code, other services other code, and the next version, too.
#[test]
fn build_ids_belong_to_a_version_of_a_service() {
    let (library, plan) = fleet(Frames::Addresses);
    let (today, later) =
        (own_ids(&paint(&library, &plan, DAY)), own_ids(&paint(&library, &plan, 3 * DAY)));
    assert_eq!(today.len(), 6);
    // Of hosts that are late there is the version before.
    assert!(today.values().all(|ids| ids.len() <= 2), "{today:?}");
    let distinct: BTreeSet<_> = today.values().flatten().collect();
    assert_eq!(distinct.len(), today.values().map(BTreeSet::len).sum::<usize>());
    assert!(today.iter().all(|(service, ids)| later[service] != *ids), "{today:?} {later:?}");
}

/// Check that the same seed gives the same windows.
#[test]
fn a_seed_gives_one_fleet() {
    let wires = || {
        let (library, plan) = fleet(Frames::Addresses);
        let painted = paint(&library, &plan, DAY).into_iter();
        painted.map(|painted| painted.batch.wire().clone()).collect::<Vec<_>>()
    };
    assert_eq!(wires(), wires());
}

/// Check that numbers of events have the mean and the variance they should have.
#[test]
fn events_are_poissons() {
    let mut random = fastrand::Rng::with_seed(5);
    for expected in [0.3, 4.0, 49.0, 400.0] {
        let events: Vec<_> = (0..20_000).map(|_| poisson(expected, &mut random) as f64).collect();
        let mean = events.iter().sum::<f64>() / events.len() as f64;
        let spread = events.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / events.len() as f64;
        assert!((mean / expected - 1.0).abs() < 0.03, "{expected}: {mean}");
        assert!((spread / expected - 1.0).abs() < 0.06, "{expected}: {spread}");
    }
}
