//! Agents that are broken or hostile.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use fleetprof_proto::v1::{Hello, SealedBatch, push_request::Message, push_response};
use fleetprof_tests::{grpc::Grpc, machine::machine};

use crate::fixture::Lab;

const INSTANCE: [u8; 16] = [7; 16];

fn hello() -> Message {
    let (host, agent_version) = ("hostile".to_owned(), "0".to_owned());
    Message::Hello(Hello { instance: INSTANCE.to_vec(), host, agent_version })
}

fn batch(sequence: u64, payload: Vec<u8>) -> SealedBatch {
    SealedBatch {
        instance: INSTANCE.to_vec(),
        sequence,
        format: 1,
        samples: 10,
        raw_size: 100,
        crc32c: 0,
        payload: payload.into(),
    }
}

/// Pushes one batch; true when it was rejected for good or the stream refused, never acknowledged.
fn refused(grpc: &Grpc, what: &str, batch: SealedBatch) {
    match grpc.push(vec![hello(), Message::Batch(batch)]) {
        Ok(answers) => {
            let reject = answers.iter().find_map(|answer| match &answer.message {
                Some(push_response::Message::Reject(reject)) => Some(reject),
                Some(push_response::Message::Ack(ack)) => {
                    panic!("{what} was acknowledged: {ack:?}")
                }
                _ => None,
            });
            let reject = reject.unwrap_or_else(|| panic!("{what} had no answer: {answers:?}"));
            println!("{what}: {}", reject.reason);
            assert!(!reject.reason.is_empty(), "{what}: no reason");
        }
        Err(status) => {
            println!("{what}: {status:?}");
            assert!(!status.message().is_empty(), "{what}: no message");
        }
    }
}

// Check batches that are damaged, of another format, too large, or lie about themselves.
#[test]
fn malformed_and_oversize_batches_are_rejected_with_a_reason() {
    let _machine = machine();
    let lab = Lab::new();
    let mut collector = lab.collector();
    let grpc = Grpc::connect(lab.port());
    refused(&grpc, "a wrong checksum", batch(1, b"garbage".to_vec()));
    refused(&grpc, "an unknown format", SealedBatch { format: 99, ..batch(2, Vec::new()) });
    refused(&grpc, "a short instance", SealedBatch { instance: vec![1], ..batch(3, Vec::new()) });
    refused(&grpc, "sequence 0", batch(0, Vec::new()));
    refused(&grpc, "a bomb", SealedBatch { raw_size: u64::MAX, ..batch(4, vec![0; 100]) });
    refused(&grpc, "an oversize payload", batch(5, vec![0; 40 << 20]));
    // Nobody has introduced himself.
    match grpc.push(vec![Message::Batch(batch(6, Vec::new()))]) {
        Ok(answers) => {
            let acked = |answer: &fleetprof_proto::v1::PushResponse| {
                matches!(answer.message, Some(push_response::Message::Ack(_)))
            };
            assert!(!answers.iter().any(acked), "{answers:?}");
        }
        Err(status) => assert!(!status.message().is_empty(), "{status:?}"),
    }
    let store = grpc.status().store.expect("a store");
    assert_eq!((store.batches, store.samples), (0, 0), "something of it was stored");
    collector.check_unharmed();
    collector.stop();
}

// Check bytes that are no protocol at all.
#[test]
fn bytes_that_are_no_protocol_do_no_harm() {
    let _machine = machine();
    let lab = Lab::new();
    let mut collector = lab.collector();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    let long = [b"GET /".to_vec(), vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n".to_vec()].concat();
    for bytes in [vec![0; 4096], b"\x16\x03\x01\x02\x00\x01".to_vec(), preface, long] {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, lab.port())).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        // The server may hang up at any point: that is an answer, too.
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0; 1024]);
        collector.check_unharmed();
    }
    collector.stop();
}
