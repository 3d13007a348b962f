//! Reads a range of a process's memory: the vDSO has no file.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::Place;
use crate::process::parse;

/// Largest range read, bytes. A vDSO has 4 to 16 KiB.
const MAX_BYTES: u64 = 256 << 10;

/// Reads `start..end` of the memory of the process whose directory in `/proc` is `process`.
pub(super) fn read_range(process: &Path, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let len = end
        .checked_sub(start)
        .filter(|len| *len <= MAX_BYTES)
        .and_then(|len| usize::try_from(len).ok())
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = vec![0; len];
    File::open(process.join("mem"))?.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

/// Where this program's own vDSO is mapped; `None` where the kernel has none.
pub(super) fn own_vdso(proc_root: &Path) -> Option<Place> {
    let pid = fs::read_link(proc_root.join("self")).ok()?.to_str()?.parse().ok()?;
    let maps = fs::read(proc_root.join("self/maps")).ok()?;
    let mut lines = maps.split(|byte| *byte == b'\n').filter_map(parse::maps_line);
    let line = lines.find(|line| line.path == b"[vdso]")?;
    let (start, end) = (line.start, line.end);
    Some(Place { pid, parent: None, start, end, path: line.path.into(), file: None })
}
