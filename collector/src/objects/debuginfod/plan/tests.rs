use fleetprof_proto::ids::{BuildId, BuildIdKind, ObjectKind};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const PAUSE: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);

fn target(byte: u8, what: What) -> Target {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
    Target { id: ObjectId { kind: ObjectKind::File, build_id }, what }
}

fn debug(byte: u8) -> Target {
    target(byte, What::DebugInfo)
}

fn plan(patience: Duration) -> Plan {
    Plan::new(Pauses { patience, absent: HOUR, failure: PAUSE })
}

/// Check that others have their time first, that one file is never asked for twice at a time, and that
/// the one that has waited longest comes first.
#[test]
fn files_are_asked_for_once_when_nobody_brings_them() {
    let (mut plan, start) = (plan(PATIENCE), Instant::now());
    plan.update([debug(1)].into(), start);
    plan.update([debug(1), debug(2)].into(), start + SECOND);
    assert_eq!(plan.next(start + PATIENCE - SECOND), None);
    assert_eq!(plan.says(&debug(1).id), Some("to be asked unless it is delivered"));
    let due = start + PATIENCE + SECOND;
    assert_eq!(plan.next(due), Some(debug(1)));
    assert_eq!(plan.says(&debug(1).id), Some("asking"));
    plan.update([debug(1), debug(2)].into(), due);
    assert_eq!((plan.next(due), plan.next(due + HOUR)), (Some(debug(2)), None));

    plan.done(&debug(1), &Outcome::Got, due);
    plan.update([debug(1)].into(), due);
    assert_eq!(plan.next(due + 100 * HOUR), None, "asking again would give the same");
    assert_eq!(plan.says(&debug(3).id), None);
}

/// Check that what was delivered meanwhile is not asked for, and is forgotten.
#[test]
fn what_was_delivered_is_not_asked_for() {
    let (mut plan, start) = (plan(PATIENCE), Instant::now());
    plan.update([debug(1)].into(), start);
    plan.update([].into(), start + SECOND);
    assert_eq!((plan.next(start + HOUR), plan.targets.len()), (None, 0));
}

/// Check that a negative answer holds for its time, and a wrong file as long.
#[test]
fn negative_answers_are_remembered() {
    for (outcome, said) in [
        (Outcome::Absent, "no server has it"),
        (Outcome::Useless("it is another one".to_owned()), "it is another one"),
    ] {
        let (mut plan, now) = (plan(Duration::ZERO), Instant::now());
        plan.update([debug(1)].into(), now);
        assert_eq!(plan.next(now), Some(debug(1)));
        plan.done(&debug(1), &outcome, now);
        assert_eq!(plan.next(now + HOUR - SECOND), None);
        assert_eq!(plan.says(&debug(1).id), Some(said));
        assert_eq!(plan.next(now + HOUR), Some(debug(1)));
    }
}

/// Check that failures are tried again, ever more rarely within a bound, and that an answer ends that.
#[test]
fn failures_are_tried_again_ever_more_rarely() {
    let (mut plan, mut now) = (plan(Duration::ZERO), Instant::now());
    plan.update([debug(1)].into(), now);
    for failure in 0..20 {
        assert_eq!(plan.next(now), Some(debug(1)));
        plan.done(&debug(1), &Outcome::Failed("away".to_owned()), now);
        let pause = PAUSE * 2_u32.pow(failure.min(MAX_DOUBLINGS));
        assert_eq!(plan.next(now + pause - SECOND), None, "{failure}");
        now += pause;
    }
    assert_eq!(plan.next(now), Some(debug(1)));
    plan.done(&debug(1), &Outcome::Absent, now);
    assert_eq!(plan.next(now + HOUR), Some(debug(1)));
    plan.done(&debug(1), &Outcome::Failed("away".to_owned()), now);
    assert_eq!(plan.next(now + PAUSE), Some(debug(1)));
}

/// Check that the debug information of a binary that only a server had is asked for at once.
#[test]
fn debug_information_follows_its_binary() {
    let (mut plan, now) = (plan(PATIENCE), Instant::now());
    let binary = target(1, What::Executable);
    plan.update([binary.clone()].into(), now);
    let due = now + PATIENCE;
    assert_eq!(plan.next(due), Some(binary.clone()));
    plan.done(&binary, &Outcome::Got, due);
    plan.update([debug(1)].into(), due);
    assert_eq!(plan.next(due), Some(debug(1)));
}
