//! A collector that has more to do than it can.

use std::time::Duration;

use fleetprof_proto::{ids::InstanceId, v1::push_response::Message as Answer};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{Agent, Running, sealed};

/// How often it says that it is busy.
const INTERVAL: Duration = Duration::from_millis(50);

/// Check that agents whose batches wait are told so until they are answered, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_so() {
    let collector = Running::start_with(TempDir::new().expect("dir"), |config| {
        config.busy_interval = INTERVAL;
        // A batch that comes alone waits a quarter of it for others: twenty times the interval.
        config.commit_delay = Duration::from_secs(4);
    })
    .await;
    let mut agent = collector.agent().await;
    let mut idle = collector.agent().await;
    assert!(agent.push(sealed(agent.instance, 1)).await);
    let mut told = 0;
    loop {
        let answer = agent.answers.message().await.expect("answered").expect("open");
        match answer.message.expect("a known answer") {
            Answer::Busy(_) => told += 1,
            Answer::Ack(ack) => break assert_eq!(ack.sequence, 1),
            Answer::Welcome(_) | Answer::WantObjects(_) => {}
            Answer::Reject(reject) => panic!("{reject:?}"),
        }
    }
    assert!(told > 0, "nothing came for a second but the answer");
    for agent in [&mut agent, &mut idle] {
        let mut busy = async || {
            while let Some(answer) = agent.answers.message().await.expect("open") {
                if matches!(answer.message, Some(Answer::Busy(_))) {
                    return;
                }
            }
        };
        assert!(timeout(INTERVAL * 6, busy()).await.is_err(), "it waits for nothing");
    }
}

/// Check that a batch has its memory until it is durable: where there is memory for one, the next is not gathered
/// with it.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_held_until_a_batch_is_durable() {
    let batch = sealed(InstanceId::random(), 1);
    let takes = usize::try_from(batch.raw_size).expect("small") * 2 + batch.payload.len();
    for (room, groups) in [(2, 1), (1, 2)] {
        let collector = Running::start_with(TempDir::new().expect("dir"), |config| {
            config.queue_bytes = takes * room;
            config.limits.max_payload_bytes = takes;
            // What comes within a quarter of it is one group.
            config.commit_delay = Duration::from_secs(8);
        })
        .await;
        let (mut first, mut second) = (collector.agent().await, collector.agent().await);
        assert!(first.push(sealed(first.instance, 1)).await);
        assert!(second.push(sealed(second.instance, 1)).await);
        for agent in [&mut first, &mut second] {
            while !matches!(
                agent.answers.message().await.expect("answered").expect("open").message,
                Some(Answer::Ack(_))
            ) {}
        }
        let metrics = collector.get("/metrics").await.text();
        let line = metrics.lines().find(|line| line.contains("commit_batches_count"));
        let count = line.and_then(|line| line.split(' ').next_back());
        assert_eq!(count, Some(groups.to_string().as_str()), "{room}: {line:?}");
    }
}

/// Check that agents that leave before they are answered neither keep memory from those that stay, nor leave
/// anything that is counted twice when they send it again.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_holds_up_nobody() {
    let batch = sealed(InstanceId::random(), 1);
    let takes = usize::try_from(batch.raw_size).expect("small") * 2 + batch.payload.len();
    let collector = Running::start_with(TempDir::new().expect("dir"), |config| {
        // One waits for memory behind the two that have it.
        config.queue_bytes = takes * 2;
        config.limits.max_payload_bytes = takes;
        config.commit_delay = Duration::from_millis(400);
    })
    .await;
    let mut leavers = Vec::new();
    for _ in 0..8 {
        let mut agent = collector.agent().await;
        for sequence in 1..=4 {
            assert!(agent.push(sealed(agent.instance, sequence)).await);
        }
        leavers.push(agent.instance);
    }
    let mut stays = collector.agent().await;
    assert!(!stays.deliver(sealed(stays.instance, 1)).await.duplicate);
    for instance in leavers {
        let mut agent = Agent::connect(&collector.url(), instance).await.expect("connects");
        for sequence in 1..=4 {
            agent.deliver(sealed(instance, sequence)).await;
            assert!(agent.deliver(sealed(instance, sequence)).await.duplicate);
        }
    }
    let status = collector.queries().await.status(fleetprof_proto::v1::StatusRequest {}).await;
    let store = status.expect("answered").into_inner().store.expect("a store");
    assert_eq!((store.batches, store.samples), (33, 33 * 40));
}
