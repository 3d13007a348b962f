//! Files of every format that ever was stay readable.
//!
//! `FLEETPROF_WRITE_FIXTURE=1 cargo test -p fleetprof-store --test format fixture` writes those of a new
//! format; those of an old one are never written again.

use std::{fs, path::Path};

use bytes::Bytes;
use fleetprof_store::{FORMAT, FileId, Table, Wanted, decode, encode};

use crate::tables::{FRAMES, Sample, content, table};

fn written() -> Table {
    let sample = |number: usize| Sample {
        service: number % 4,
        version: (!number.is_multiple_of(3)).then_some(number % 2),
        host: (!number.is_multiple_of(4)).then_some(0),
        team: (!number.is_multiple_of(5)).then_some(number % 2),
        region: None,
        window: number % 5,
        stack: (number % 3..number % (FRAMES + 1)).collect(),
        result: u32::from(number.is_multiple_of(7)),
        count: 1 + number as u64,
        nanos: 1_000_000 * number as u64,
    };
    table(&(0..100).map(sample).collect::<Vec<_>>())
}

#[test]
fn format_1_stays_readable() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1");
    let (samples, stacks) = (folder.join("1.samples.parquet"), folder.join("1.stacks.parquet"));
    if FORMAT == 1 && std::env::var_os("FLEETPROF_WRITE_FIXTURE").is_some() {
        let id = FileId::from_number(1).expect("a positive number");
        let files = encode(id, &written(), None).expect("a table that can be stored");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(&samples, files.samples).expect("written");
        fs::write(&stacks, files.stacks).expect("written");
    }
    let read = |path: &Path| Bytes::from(fs::read(path).expect("it is committed"));
    let table = decode(read(&samples), Some(read(&stacks)), &Wanted::all()).expect("readable");
    assert_eq!(content(&table), content(&written()));
}
