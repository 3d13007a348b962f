use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectKind};

use super::*;

fn queued(number: u32, samples: u64) -> Queued {
    let build_id = BuildId::new(BuildIdKind::Gnu, &number.to_be_bytes()).unwrap();
    let id = ObjectId { kind: ObjectKind::File, build_id };
    Queued { job: Job { number: ObjectNumber(number), id }, samples }
}

#[test]
fn what_most_samples_wait_for_is_built_first() {
    let jobs = [(1, 2), (2, 5), (3, 1), (4, 5)];
    let mut state = State::default();
    state.jobs.extend(jobs.map(|(number, samples)| queued(number, samples)));
    let order: Vec<_> = std::iter::from_fn(|| state.most_wanted()).map(|job| job.number).collect();
    assert_eq!(order, [2, 4, 1, 3].map(ObjectNumber));
}
