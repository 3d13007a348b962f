use std::{
    future::poll_fn,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use fleetprof_proto::{
    batch::{BatchBuilder, Limits, Window, seal},
    ids::{BatchId, BuildId, BuildIdKind, InstanceId, ObjectId, ObjectKind},
    v1::{self, UnresolvedReason},
};

use fleetprof_store::{Appended, NewBatch, StoreError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{
    commit::Keep,
    examine::{Sender, cut, examine},
    *,
};
use crate::metrics::Metrics;

fn object(byte: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[byte; 20]).expect("valid");
    ObjectId { kind: ObjectKind::File, build_id }
}

fn sender() -> Sender {
    Sender { instance: InstanceId::random(), host: "h".to_owned(), version: "v".to_owned() }
}

/// Frames in objects 1 to 4: 2 is hottest by itself, 1 is the caller of everything, 4 is not hit.
fn sealed(window: Window, accounting: v1::Accounting) -> v1::SealedBatch {
    let mut builder = BatchBuilder::new();
    let frames: Vec<_> = (1..=4)
        .map(|byte| {
            let object = builder.object(ObjectKind::File, Some(&object(byte).build_id), "/x");
            builder.frame(object, 8, UnresolvedReason::Unspecified)
        })
        .collect();
    let origin = builder.origin([("service", "s")]);
    let hot = builder.stack([frames[0], frames[1]]);
    let cold = builder.stack([frames[0], frames[2]]);
    builder.add(origin, hot, 0, 3, 300);
    builder.add(origin, cold, 0, 1, 100);
    let batch = builder.finish(window, [("host", "named")], accounting);
    seal(BatchId { instance: InstanceId::random(), sequence: 1 }, &batch).expect("sealed")
}

/// Check that objects come hottest first, callers counting what is below them, and unhit ones not.
#[test]
fn objects_come_hottest_first() {
    let window = Window { start_unix_nanos: 1, end_unix_nanos: 2 };
    let sealed = sealed(window, v1::Accounting::default());
    let examined = examine(&sealed, Limits::default(), &sender()).expect("in order");
    let objects: Vec<_> = examined.objects.into_iter().map(|(id, _)| id).collect();
    assert_eq!(objects, [object(1), object(2), object(3)]);
    // Of another instance than the sender: spooled by an earlier one, of unknown version.
    assert_eq!(
        (examined.batch.host.as_str(), examined.batch.agent_version.as_str()),
        ("named", "")
    );
}

/// Check that windows which cannot be, and monstrous counters, are refused with a reason.
#[test]
fn implausible_batches_are_refused() {
    const DAY: i64 = 86_400_000_000_000;
    for (start, end) in [(0, DAY + 1), (-5, 5), (i64::MIN, i64::MAX), (i64::MAX - 1, i64::MAX)] {
        let window = Window { start_unix_nanos: start, end_unix_nanos: end };
        let sealed = sealed(window, v1::Accounting::default());
        let refused = examine(&sealed, Limits::default(), &sender()).expect_err("refused");
        assert_eq!(refused.reason(), "window", "{refused}");
    }
    let dropped = vec![v1::CounterByName { name: "x".repeat(5_000), value: 1 }];
    let accounting = v1::Accounting { dropped, ..Default::default() };
    let sealed = sealed(Window { start_unix_nanos: 1, end_unix_nanos: 2 }, accounting);
    let refused = examine(&sealed, Limits::default(), &sender()).expect_err("refused");
    assert_eq!(refused.reason(), "accounting", "{refused}");
}

/// Check that amounts and labels that no store can hold are refused.
#[test]
fn what_cannot_be_stored_is_refused() {
    let window = Window { start_unix_nanos: 1, end_unix_nanos: 2 };
    for (label, nanos, reason) in [("a", 1 << 57, "amount"), ("a\0b", 1, "label")] {
        let mut builder = BatchBuilder::new();
        let origin = builder.origin([("service", label)]);
        builder.add(origin, fleetprof_proto::batch::StackIndex::EMPTY, 0, 1, nanos);
        let batch = builder.finish(window, [], v1::Accounting::default());
        let id = BatchId { instance: InstanceId::random(), sequence: 1 };
        let sealed = seal(id, &batch).expect("sealed");
        let refused = examine(&sealed, Limits::default(), &sender()).expect_err("refused");
        assert_eq!(refused.reason(), reason, "{refused}");
    }
}

/// Check that long names are cut between characters.
#[test]
fn names_are_cut_at_characters() {
    assert_eq!(cut("short"), "short");
    assert_eq!(cut(&"é".repeat(200)).len(), 256);
    assert_eq!(cut(&format!("x{}", "é".repeat(200))).len(), 255);
}

/// A store that blocks in its first group until it is let go, and notes the groups.
#[derive(Clone, Debug)]
struct Gated {
    gate: Arc<Semaphore>,
    entered: Arc<Notify>,
    groups: Arc<Mutex<Vec<usize>>>,
    fails: bool,
}

impl Keep for Gated {
    async fn keep(&self, batches: Vec<NewBatch>) -> Result<Vec<Appended>, StoreError> {
        self.entered.notify_one();
        let _open = self.gate.acquire().await.expect("never closed");
        self.groups.lock().expect("sound").push(batches.len());
        if self.fails {
            return Err(StoreError::Panicked);
        }
        Ok(vec![Appended::Stored; batches.len()])
    }
}

impl Gated {
    fn new(open: bool, fails: bool) -> Self {
        let gate = Arc::new(Semaphore::new(usize::from(open)));
        Self { gate, entered: Arc::default(), groups: Arc::default(), fails }
    }
}

fn new_batch() -> NewBatch {
    let window = Window { start_unix_nanos: 1, end_unix_nanos: 2 };
    let sealed = sealed(window, v1::Accounting::default());
    examine(&sealed, Limits::default(), &sender()).expect("in order").batch
}

fn memory() -> OwnedSemaphorePermit {
    Arc::new(Semaphore::new(1)).try_acquire_owned().expect("free")
}

const LIMITS: GroupLimits = GroupLimits { delay: Duration::from_millis(1), rows: 1 << 20 };

/// The groups in which 20 batches are written, 19 of which come while the first one is.
async fn groups_of_twenty(limits: GroupLimits) -> Vec<usize> {
    let store = Gated::new(false, false);
    let (committer, task) = Committer::start(store.clone(), limits, Metrics::default());
    let mut commits: Vec<_> =
        (0..20).map(|_| Box::pin(committer.commit(new_batch(), memory()))).collect();
    for (number, commit) in commits.iter_mut().enumerate() {
        // One poll hands the batch over; nobody is answered before the store has it.
        let answered = poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx).is_ready())).await;
        assert!(!answered, "nothing is durable yet");
        if number == 0 {
            store.entered.notified().await;
        }
    }
    store.gate.add_permits(1);
    for commit in commits {
        assert_eq!(commit.await.expect("stored"), Appended::Stored);
    }
    drop(committer);
    task.await.expect("ends");
    let groups = store.groups.lock().expect("sound");
    groups.clone()
}

/// Check that what comes while a group is written shares the next group as far as it fits, that nobody
/// is answered before the store is, and that the task ends when its senders are gone.
#[tokio::test(flavor = "multi_thread")]
async fn batches_share_commits() {
    assert_eq!(groups_of_twenty(LIMITS).await, [1, 19]);
    let full_after_one = GroupLimits { rows: 1, ..LIMITS };
    assert_eq!(groups_of_twenty(full_after_one).await, [1; 20]);
}

/// Check that a failure reaches everyone in the group.
#[tokio::test(flavor = "multi_thread")]
async fn failures_reach_the_whole_group() {
    let store = Gated::new(true, true);
    let (committer, _) = Committer::start(store, LIMITS, Metrics::default());
    let (a, b) = tokio::join!(
        committer.commit(new_batch(), memory()),
        committer.commit(new_batch(), memory())
    );
    for result in [a, b] {
        let error = result.expect_err("fails");
        assert!(
            matches!(&error, CommitError::Store(store) if matches!(**store, StoreError::Panicked)),
            "{error}"
        );
    }
}
