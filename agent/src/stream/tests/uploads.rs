//! Objects the collector asks for.

use std::io::{self, Read};

use fleetprof_proto::{
    ids::{BuildId, BuildIdKind, ObjectKind},
    v1,
};

use super::*;

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

impl ObjectSource for Objects {
    fn open(&self, id: &ObjectId) -> Result<Upload, OpenObjectError> {
        let number = id.build_id.value()[0];
        let (size, reader): (u64, Box<dyn Read + Send>) = match number {
            1 | 2 => (600_000, Box::new(io::Cursor::new(content(number)))),
            3 => (600_001, Box::new(io::Cursor::new(content(3)))),
            4 => (599_999, Box::new(io::Cursor::new(content(4)))),
            5 => (600_000, Box::new(Broken)),
            6 => (1 << 40, Box::new(io::repeat(0))),
            7 => (0, Box::new(io::empty())),
            _ => return Err(OpenObjectError::NotFound),
        };
        let (format, path) = (v1::ObjectFormat::Elf, format!("/bin/{number}"));
        Ok(Upload { format, size, path, reader, companion: None })
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
    assert_eq!(agent.handle.status().uploads_refused_total, 2);
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
