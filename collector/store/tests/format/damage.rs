//! Damaged files are refused, and nothing worse.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fleetprof_store::{Encoded, FORMAT, FileId, FormatError, Wanted, decode, encode};

use crate::tables::{FRAMES, Sample, table};

/// A small pair with every sort of frame and of label.
fn files() -> Encoded {
    let sample = |number: usize| Sample {
        service: number % 3,
        version: Some(number % 2),
        host: (!number.is_multiple_of(4)).then_some(0),
        team: (!number.is_multiple_of(5)).then_some(number % 2),
        region: None,
        window: number % 4,
        stack: (0..number % FRAMES).collect(),
        result: 0,
        count: 1 + number as u64,
        nanos: 1000,
    };
    let samples: Vec<_> = (0..40).map(sample).collect();
    encode(FileId::random(), &table(&samples), None).expect("a table that can be stored")
}

/// Puts the right checksum into a file that was changed.
fn sealed(mut file: Vec<u8>) -> Option<Vec<u8>> {
    let length: [u8; 4] = file.get(file.len().checked_sub(8)?..file.len() - 4)?.try_into().ok()?;
    let footer = (file.len() - 8).checked_sub(u32::from_le_bytes(length) as usize)?;
    let sum =
        crc32c::crc32c_append(crc32c::crc32c(file.get(..footer.checked_sub(4)?)?), &file[footer..]);
    file[footer - 4..footer].copy_from_slice(&sum.to_le_bytes());
    Some(file)
}

fn replace(file: &Bytes, from: &[u8], to: &[u8]) -> Bytes {
    let at = file.windows(from.len()).position(|window| window == from).expect("it is there");
    let mut file = file.to_vec();
    file[at..at + to.len()].copy_from_slice(to);
    sealed(file).expect("a Parquet file").into()
}

#[test]
fn every_changed_byte_and_every_missing_end_is_noticed() {
    let files = files();
    let check = |samples: Bytes, stacks: Bytes, what: &str, at: usize| {
        let read = decode(samples, Some(stacks), &Wanted::all());
        assert!(matches!(read, Err(FormatError::Damaged { .. })), "{what} {at}: {read:?}");
    };
    for file in [&files.samples, &files.stacks] {
        let pair = |damaged: Bytes| match std::ptr::eq(file, &files.samples) {
            true => (damaged, files.stacks.clone()),
            false => (files.samples.clone(), damaged),
        };
        for at in 0..file.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut damaged = file.to_vec();
                damaged[at] ^= bits;
                let (samples, stacks) = pair(damaged.into());
                check(samples, stacks, "changed", at);
            }
            let (samples, stacks) = pair(file.slice(..at));
            check(samples, stacks, "cut", at);
            let (samples, stacks) = pair(file.slice(at + 1..));
            check(samples, stacks, "begun", at);
        }
    }
}

/// With the right checksum, as somebody would write it who wants to do harm.
#[test]
fn forged_files_do_no_harm() {
    let files = files();
    let (mut refused, mut read, mut panicked) = (0_u32, 0_u32, 0_u32);
    let mut longest = Duration::ZERO;
    let hook = std::panic::take_hook();
    // Without the traces of the panics that are expected: they take longer than all else.
    std::panic::set_hook(Box::new(|_| {}));
    for file in [&files.samples, &files.stacks] {
        for at in (4..file.len() - 8).step_by(5) {
            let mut forged = file.to_vec();
            forged[at] ^= [0x01, 0x04, 0x80, 0xff][at % 4];
            let Some(forged) = sealed(forged).map(Bytes::from) else { continue };
            let (samples, stacks) = match std::ptr::eq(file, &files.samples) {
                true => (forged, files.stacks.clone()),
                false => (files.samples.clone(), forged),
            };
            let started = Instant::now();
            match decode(samples, Some(stacks), &Wanted::all()) {
                Ok(_) => read += 1,
                Err(error) if error.to_string().contains("panicked") => panicked += 1,
                Err(_) => refused += 1,
            }
            longest = longest.max(started.elapsed());
        }
    }
    std::panic::set_hook(hook);
    println!("{refused} refused, {read} read, {panicked} panicked, longest {longest:?}");
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    assert!(refused > 100 && read > 100);
}

#[test]
fn a_newer_format_says_so() {
    let files = files();
    let (key, newer) = (b"fleetprof.format\x18\x01", b"fleetprof.format\x18\x012");
    assert_eq!(FORMAT, 1);
    let samples = replace(&files.samples, key, newer);
    let read = decode(samples, Some(files.stacks.clone()), &Wanted::all());
    let Err(error @ FormatError::Newer { file: "samples", found: 2 }) = read else {
        panic!("{read:?}");
    };
    assert!(error.to_string().contains("upgrade"), "{error}");
    let stacks = replace(&files.stacks, key, newer);
    let read = decode(files.samples, Some(stacks), &Wanted::all());
    assert!(matches!(read, Err(FormatError::Newer { file: "stacks", found: 2 })), "{read:?}");
}

/// Not a file of fleetprof, though one of Parquet: no format, or not the columns.
#[test]
fn other_parquet_files_are_refused() {
    let files = files();
    for (from, to) in
        [(&b"fleetprof.format"[..], &b"fleetprof.formal"[..]), (b"cpu_nanos", b"cpu_nanoz")]
    {
        let samples = replace(&files.samples, from, to);
        let read = decode(samples, Some(files.stacks.clone()), &Wanted::all());
        assert!(matches!(read, Err(FormatError::Damaged { .. })), "{read:?}");
    }
    let swapped = decode(files.stacks, Some(files.samples), &Wanted::all());
    assert!(matches!(swapped, Err(FormatError::Damaged { .. })), "{swapped:?}");
    let text = decode(Bytes::from_static(b"PAR1 is how it begins"), None, &Wanted::all());
    assert!(text.is_err());
}
