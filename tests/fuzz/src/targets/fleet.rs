//! What a collector gets: batches of agents, texts of people.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher as _},
};

use fleetprof_proto::{
    batch::{Batch, Limits, Merger, downgrade, open, seal},
    ids::{BatchId, ObjectId},
    pprof,
    selector::Selector,
    symbol::{Reason, Symbol},
    time_range::{TimeRange, format_instant, parse_instant},
    v1,
};
use prost::Message as _;

/// What a collector would take, but smaller.
const LIMITS: Limits = Limits { max_payload_bytes: 1 << 20, max_raw_bytes: 4 << 20 };

/// An instant for `now`, nanoseconds since the Unix epoch.
const NOW: i64 = 1_795_341_600_000_000_000;

/// A sealed batch, and what is in it.
pub(crate) fn batch(bytes: &[u8]) {
    if let Ok(mut sealed) = v1::SealedBatch::decode(bytes) {
        let _damaged = open(&sealed, LIMITS).is_err();
        // What hinders only accidents does not hinder this.
        sealed.crc32c = crc32c(&sealed.payload);
        if let Ok((_, batch)) = open(&sealed, LIMITS) {
            is_usable(&batch);
        }
    }
    if let Ok(wire) = v1::Batch::decode(bytes)
        && let Ok(batch) = Batch::validate(wire)
    {
        is_usable(&batch);
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    // Bit by bit: another implementation than the product's.
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

/// Samples and nanoseconds by origin, stack and result, whatever the order of the tables.
fn fingerprint(batch: &Batch) -> BTreeMap<(usize, u64, u32), (u64, u64)> {
    let frames: Vec<u64> = (0..batch.frame_count())
        .map(|row| {
            let frame = batch.frame(row);
            let name = frame.name.map(|name| (name.function, name.file, name.line));
            hash((frame.object, frame.offset, frame.reason as i32, name))
        })
        .collect();
    let mut stacks: Vec<u64> = Vec::new();
    for row in 0..batch.stack_count() {
        let node = batch.stack_node(row);
        stacks.push(node.map_or(0, |(parent, frame)| hash((stacks[parent], frames[frame]))));
    }
    let mut sums = BTreeMap::<_, (u64, u64)>::new();
    for row in batch.samples() {
        let sum = sums.entry((row.origin, stacks[row.stack], row.result)).or_default();
        *sum = (sum.0 + row.count, sum.1 + row.nanos);
    }
    sums
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What is valid can be stored, merged and shown, and loses no sample on the way.
fn is_usable(batch: &Batch) {
    let id = BatchId::from_wire(&[7; 16], 1).expect("a valid id");
    let sealed = seal(id, batch).expect("there is memory");
    let (_, again) = open(&sealed, Limits::default()).expect("what was sealed can be opened");
    assert_eq!(again.sample_total(), batch.sample_total());
    assert_eq!(fingerprint(&again), fingerprint(batch));
    // What is in order stays as it is.
    let ordered = seal(id, &again).expect("there is memory");
    let (_, twice) = open(&ordered, Limits::default()).expect("what was sealed can be opened");
    assert_eq!(twice.wire(), again.wire());
    // An older collector is sent the tables as they are.
    let plain = downgrade(&ordered, Limits::default()).expect("what can be opened can be changed");
    let (_, plain) = open(&plain, Limits::default()).expect("what was changed can be opened");
    assert_eq!(plain.wire(), again.wire());

    for frame in 0..batch.frame_count() {
        let frame = batch.frame(frame);
        assert!(!frame.fallback_name().is_empty());
        let _located = frame.locate();
    }
    for stack in 0..batch.stack_count() {
        assert!(batch.stack_frames(stack).count() <= stack);
    }
    let _ids = batch.object_ids().count();

    let mut merger = Merger::new();
    let all = |labels: &BTreeMap<&str, &str>| {
        Some(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    };
    assert_eq!(merger.add(batch, all), batch.sample_total());
    let merged = merger.finish();
    assert_eq!(merged.sample_total(), batch.sample_total());
    if batch.sample_total() > 0 {
        assert_eq!(Batch::validate(merged.wire().clone()).as_ref(), Ok(&merged));
    }
    let symbols = vec![Symbol::Unknown(Reason::NoObject); batch.frame_count() / 2];
    assert!(!pprof::encode(&merged, &symbols, &["made from any bytes".to_owned()]).is_empty());
}

/// Selectors and times, as they are typed.
pub(crate) fn query_texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(selector) = Selector::parse(text) {
        let shown = selector.to_string();
        assert_eq!(Selector::parse(&shown).as_ref(), Ok(&selector), "{shown}");
        let _is_for_all = selector.matches(|_| None);
        let _is_for_text = selector.matches(|_| Some(text));
    }
    if let Ok(instant) = parse_instant(text, NOW) {
        assert_eq!(parse_instant(&format_instant(instant), NOW), Ok(instant), "{text}");
    }
    if let Ok(id) = text.parse::<ObjectId>() {
        assert_eq!(id.to_string().parse().as_ref(), Ok(&id), "{text}");
    }
    let (from, to) = text.split_once('\n').unwrap_or((text, "now"));
    if let Ok(range) = TimeRange::parse(from, to, NOW) {
        assert!(range.start_unix_nanos() < range.end_unix_nanos() && range.nanos() > 0);
    }
}
