//! Objects the collector asks for.

use std::io::{self, Read, Seek, SeekFrom};

use fleetprof_proto::{
    ids::{BuildId, BuildIdKind, ObjectKind},
    v1,
};

use super::{collector::Preparation, *};

fn object(number: u8) -> ObjectId {
    let build_id = BuildId::new(BuildIdKind::Gnu, &[number; 20]).unwrap();
    ObjectId { kind: ObjectKind::File, build_id }
}

/// Has objects 1 to 5; the third shrinks, the fourth grows, and the fifth fails while it is read.
struct Objects;

fn content(number: u8) -> Vec<u8> {
    vec![number; 600_000]
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("bad sector"))
    }
}

impl Seek for Broken {
    fn seek(&mut self, _to: SeekFrom) -> io::Result<u64> {
        Err(io::Error::other("bad sector"))
    }
}

impl ObjectSource for Objects {
    fn open(&self, id: &ObjectId) -> Result<Upload, OpenObjectError> {
        let number = id.build_id.value()[0];
        let (size, reader): (u64, Box<dyn ReadSeek>) = match number {
            1 | 2 | 8..=10 => (600_000, Box::new(io::Cursor::new(content(number)))),
            3 => (600_001, Box::new(io::Cursor::new(content(3)))),
            4 => (599_999, Box::new(io::Cursor::new(content(4)))),
            5 => (600_000, Box::new(Broken)),
            6 => (1 << 40, Box::new(io::empty())),
            7 => (0, Box::new(io::empty())),
            _ => return Err(OpenObjectError::NotFound),
        };
        let (format, path) = (v1::ObjectFormat::Elf, format!("/bin/{number}"));
        // The eighth has two companions: one is an object of its own, one is too large.
        let companions = match number {
            8 => [9, 6].map(|number| self.open(&object(number))).into_iter().flatten().collect(),
            _ => Vec::new(),
        };
        let level = Some(v1::SymbolLevel::Functions);
        Ok(Upload { id: id.clone(), format, size, path, level, reader, companions })
    }

    fn level(&self, id: &ObjectId) -> Option<v1::SymbolLevel> {
        match id.build_id.value()[0] {
            1 => Some(v1::SymbolLevel::DebugInfo),
            2 => Some(v1::SymbolLevel::Dynamic),
            _ => None,
        }
    }
}

async fn start() -> (Collector, Agent) {
    let collector = Collector::start();
    let dir = TempDir::new().unwrap();
    let agent = Agent::start_from(dir, collector.address, |_| {}, Arc::new(Objects));
    eventually("connected", || agent.handle.status().connected.then_some(())).await;
    (collector, agent)
}

#[tokio::test]
async fn wanted_objects_arrive_whole() {
    let (collector, agent) = start().await;
    collector.want(&[object(1), object(2), object(1), object(7)]);
    let done = || (agent.handle.status().uploads_done_total == 3).then_some(());
    eventually("uploaded", done).await;
    collector.look(|books| {
        let (header, bytes) = &books.objects[&object(2)];
        assert_eq!((header.format(), header.path.as_str()), (v1::ObjectFormat::Elf, "/bin/2"));
        assert_eq!(*bytes, content(2));
        assert!(books.objects[&object(7)].1.is_empty());
        assert_eq!(books.uploads_begun, 3, "a repeated request is one upload");
    });
    let status = agent.handle.status();
    assert_eq!(status.upload_queue, 0);
    assert!((1..10_000).contains(&status.upload_bytes_total), "{}", status.upload_bytes_total);
    // The same object is uploaded again only if the collector asks again.
    collector.want(&[object(1)]);
    eventually("again", || (agent.handle.status().uploads_done_total == 4).then_some(())).await;
}

#[tokio::test]
async fn an_object_that_changes_or_breaks_is_not_taken_for_whole() {
    let (collector, agent) = start().await;
    collector.want(&[object(3), object(4), object(5), object(1)]);
    eventually("uploaded", || (agent.handle.status().uploads_done_total == 1).then_some(())).await;
    let status = agent.handle.status();
    assert_eq!((status.uploads_failed_total, status.uploads_refused_total), (3, 0));
    let stored: Vec<_> = collector.look(|books| books.objects.keys().cloned().collect());
    assert_eq!(stored, [object(1)]);
}

#[tokio::test]
async fn what_is_unknown_or_too_large_is_refused_here() {
    let (collector, agent) = start().await;
    collector.want(&[object(6), object(99), object(1)]);
    eventually("uploaded", || (agent.handle.status().uploads_done_total == 1).then_some(())).await;
    // What turns out to be large is looked at after all others.
    let refused = || (agent.handle.status().uploads_refused_total == 2).then_some(());
    eventually("refused", refused).await;
    assert_eq!(collector.look(|books| books.uploads_begun), 1);
}

#[tokio::test]
async fn a_collector_that_has_the_object_is_spared_it() {
    let (collector, agent) = start().await;
    collector.look(|books| books.has_all_objects = true);
    collector.want(&[object(1)]);
    let duplicate = || (agent.handle.status().uploads_duplicate_total == 1).then_some(());
    eventually("answered", duplicate).await;
}

#[tokio::test]
async fn a_failed_upload_disturbs_neither_batches_nor_the_next_upload() {
    let (collector, mut agent) = start().await;
    collector.look(|books| books.fail_uploads = true);
    collector.want(&[object(1)]);
    eventually("failed", || (agent.handle.status().uploads_failed_total == 1).then_some(())).await;
    collector.look(|books| books.fail_uploads = false);
    agent.submit(3, 10);
    agent.until_delivered(3).await;
    collector.want(&[object(1)]);
    eventually("uploaded", || (agent.handle.status().uploads_done_total == 1).then_some(())).await;
    assert_eq!(agent.handle.status().connection_faults_total, 0);
}

#[tokio::test]
async fn a_rate_of_zero_uploads_nothing() {
    let collector = Collector::start();
    let off = |config: &mut DeliveryConfig| config.upload_rate_bytes = 0;
    let agent =
        Agent::start_from(TempDir::new().unwrap(), collector.address, off, Arc::new(Objects));
    eventually("connected", || agent.handle.status().connected.then_some(())).await;
    collector.want(&[object(1)]);
    let refused = || (agent.handle.status().uploads_refused_total == 1).then_some(());
    eventually("refused", refused).await;
    assert_eq!(collector.look(|books| books.uploads_begun), 0);
}

/// Uploads the first object to a collector that has these first bytes of it; what was sent, unpacked.
async fn sent_to(has: Vec<u8>) -> usize {
    let (collector, agent) = start().await;
    collector.look(|books| books.prepare = Preparation::Kept(has));
    collector.want(&[object(1)]);
    eventually("uploaded", || (agent.handle.status().uploads_done_total == 1).then_some(())).await;
    collector.look(|books| {
        let (header, bytes) = &books.objects[&object(1)];
        assert_eq!((bytes, header.level()), (&content(1), v1::SymbolLevel::Functions));
        bytes.len() - header.kept as usize
    })
}

#[tokio::test]
async fn an_upload_goes_on_behind_what_the_collector_has() {
    let whole = content(1);
    assert_eq!(sent_to(whole[..400_000].to_vec()).await, 200_000);
    assert_eq!(sent_to(whole.clone()).await, 0, "only the end was missing");
    assert_eq!(sent_to(Vec::new()).await, 600_000);
}

#[tokio::test]
async fn an_upload_begins_anew_when_the_collector_has_something_else() {
    let mut other = content(1);
    other[300_000] = 0;
    assert_eq!(sent_to(other[..400_000].to_vec()).await, 600_000);
    assert_eq!(sent_to(vec![1; 700_000]).await, 600_000, "more than there is");
}

/// Check that a collector without room gets no byte of any object, and everything once it has room.
#[tokio::test]
async fn nothing_is_sent_to_a_collector_without_room() {
    let (collector, agent) = start().await;
    collector.look(|books| books.prepare = Preparation::Refuse(Code::ResourceExhausted));
    let wanted = [1, 2, 8].map(object);
    for round in 1..=3 {
        collector.want(&wanted);
        let failed = || (agent.handle.status().uploads_failed_total == 3 * round).then_some(());
        eventually("refused", failed).await;
    }
    let status = agent.handle.status();
    assert_eq!((status.upload_bytes_total, status.uploads_done_total), (0, 0));
    assert_eq!(collector.look(|books| books.uploads_begun), 0);
    collector.look(|books| books.prepare = Preparation::Kept(Vec::new()));
    collector.want(&wanted);
    eventually("uploaded", || (agent.handle.status().uploads_done_total == 4).then_some(())).await;
}

#[tokio::test]
async fn companions_follow_under_their_own_ids() {
    let (collector, agent) = start().await;
    collector.want(&[object(8)]);
    eventually("uploaded", || (agent.handle.status().uploads_done_total == 2).then_some(())).await;
    let stored: Vec<_> = collector.look(|books| books.objects.keys().cloned().collect());
    assert_eq!(stored, [object(8), object(9)]);
    let refused = || (agent.handle.status().uploads_refused_total == 1).then_some(());
    eventually("the one that is too large is refused", refused).await;
}

/// Submits a batch that hits the first three objects.
fn hit(agent: &mut Agent) {
    let mut builder = BatchBuilder::new();
    let origin = builder.origin([("service", "test")]);
    for number in 1..=3 {
        let object = object(number);
        let row = builder.object(ObjectKind::File, Some(&object.build_id), "/bin/x");
        let frame = builder.frame(row, 1, v1::UnresolvedReason::Unspecified);
        let stack = builder.stack([frame]);
        builder.add(origin, stack, 0, 1, 1000);
    }
    agent.ledger.received(3);
    let accounting = agent.ledger.seal(3, || None);
    let window = Window { start_unix_nanos: 1, end_unix_nanos: 2 };
    agent.handle.submit(&builder.finish(window, [], accounting));
}

#[tokio::test]
async fn what_is_hot_and_says_something_is_offered_to_who_takes_it() {
    let collector = Collector::start();
    collector.look(|books| books.takes_offers = true);
    let dir = TempDir::new().unwrap();
    let mut agent = Agent::start_from(dir, collector.address, |_| {}, Arc::new(Objects));
    eventually("connected", || agent.handle.status().connected.then_some(())).await;
    let offered = eventually("offered", || {
        hit(&mut agent);
        collector.look(|books| (books.offers.len() >= 2).then(|| books.offers.clone()))
    })
    .await;
    // Again and again, and nothing but what says more than the least.
    let expected =
        v1::ObjectOffer { id: Some((&object(1)).into()), level: v1::SymbolLevel::DebugInfo.into() };
    assert!(offered.iter().all(|offer| *offer == expected), "{offered:?}");
}

#[tokio::test]
async fn an_older_collector_gets_no_offers() {
    let (collector, mut agent) = start().await;
    for _ in 0..20 {
        hit(&mut agent);
        agent.until("delivered", |ledger| ledger.pending.total() == 0).await;
    }
    assert!(agent.handle.offers.take().is_none());
    assert_eq!(collector.look(|books| books.offers.len()), 0);
    assert_eq!(agent.handle.status().connection_faults_total, 0);
}
