//! The way for fuzzers to what the kernel writes: records of samples, rings of process events, type
//! information.

use super::{
    ProcessEvent, RawSample, btf,
    perf::drain_memory,
    record,
    sideband::{read, take_until},
};

/// Bytes of the ring that the fuzzer's bytes are put into.
const RING_BYTES: usize = 16 << 10;

/// Reads any words as the record of a sample.
pub fn sample(record: &[u64]) -> Option<RawSample<'_>> {
    // The merge of samples and process events asks for the time before anything else.
    let time_ns = record::time_ns(record);
    let sample = record::parse(record).ok()?;
    assert_eq!(time_ns, Some(sample.time_ns));
    Some(sample)
}

/// Reads any bytes as what a ring holds: the position of its reader (8 bytes), by how much its
/// writer's is not at the end of the records (1 byte, signed), records.
///
/// # Panics
/// When the events are not in order of time.
pub fn side_band(bytes: &[u8]) -> Vec<ProcessEvent> {
    let Some((position, rest)) = bytes.split_first_chunk() else { return Vec::new() };
    let Some((beyond, records)) = rest.split_first() else { return Vec::new() };
    let records = &records[..records.len().min(RING_BYTES)];
    let tail = u64::from_le_bytes(*position);
    let written = (records.len() as u64).wrapping_add_signed(i64::from(beyond.cast_signed()));
    let mut ring = vec![0; RING_BYTES];
    for (at, byte) in records.iter().enumerate() {
        ring[(tail as usize).wrapping_add(at) % RING_BYTES] = *byte;
    }
    let mut events = Vec::new();
    read(|take| drain_memory(&ring, tail, tail.wrapping_add(written), take), &mut events);
    let events: Vec<_> = take_until(&mut events, u64::MAX).collect();
    assert!(events.is_sorted_by_key(ProcessEvent::time_ns));
    events
}

/// Reads any bytes as a kernel's type information.
pub fn types(bytes: &[u8]) {
    // It may be refused, and may take no longer than reading it.
    let _offsets = btf::task_offsets(bytes);
}
