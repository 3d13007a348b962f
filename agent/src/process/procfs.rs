//! Reads `/proc/PID`: one small file at a time, into one buffer, with a bound on each.
//!
//! The procfs crate is not used: it makes an allocation for every line of `maps`, executable or not,
//! and reads files whole, whatever their size.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::ffi::OsStringExt as _,
    path::PathBuf,
    sync::Arc,
};

use tracing::debug;

use super::parse::{self, MapsLine, Stat};
use crate::object::Registry;

/// Most read of `maps`, bytes. 65,530 mappings, the kernel's default limit, have some 6 MiB.
const MAX_MAPS_BYTES: usize = 16 << 20;

/// Most read of `environ`, bytes; the kernel allows a quarter of the stack's limit (2 MiB).
const MAX_ENVIRON_BYTES: u64 = 2 << 20;

/// Longest value of a variable kept, bytes.
const MAX_VALUE_BYTES: usize = 16 << 10;

/// Most read of `cgroup`, bytes.
const MAX_CGROUP_BYTES: u64 = 16 << 10;

const BUFFER_BYTES: usize = 32 << 10;

/// Access to procfs.
#[derive(Debug)]
pub(super) struct ProcFs {
    registry: Arc<Registry>,
    buffer: Vec<u8>,
}

// === impl ProcFs ===

impl ProcFs {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, buffer: vec![0; BUFFER_BYTES] }
    }

    /// All processes there are now.
    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in fs::read_dir(self.registry.proc_root())? {
            // Everything else in /proc has no number for a name.
            pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        Ok(pids)
    }

    /// `None` when the process is gone.
    pub(super) fn stat(&mut self, pid: u32) -> Option<Stat> {
        let mut file = File::open(self.path(pid, "stat")).ok()?;
        let len = file.read(&mut self.buffer).ok()?;
        parse::stat(&self.buffer[..len])
    }

    /// Hands out the lines of `maps`. Of a process whose main thread has ended, another thread's.
    pub(super) fn maps(
        &mut self,
        pid: u32,
        tid: u32,
        sink: &mut dyn FnMut(&MapsLine<'_>),
    ) -> io::Result<()> {
        let lines = self.maps_file(&self.path(pid, "maps"), sink)?;
        if lines == 0 && tid != pid {
            self.maps_file(&self.path(pid, &format!("task/{tid}/maps")), sink)?;
        }
        Ok(())
    }

    fn maps_file(
        &mut self,
        path: &std::path::Path,
        sink: &mut dyn FnMut(&MapsLine<'_>),
    ) -> io::Result<usize> {
        maps_lines(&mut File::open(path)?, &mut self.buffer, sink)
    }

    /// Path of the executable.
    pub(super) fn exe(&self, pid: u32) -> Option<Vec<u8>> {
        let target = fs::read_link(self.path(pid, "exe")).ok()?;
        Some(parse::mapped_path(&target.into_os_string().into_vec()))
    }

    /// The process's cgroups.
    pub(super) fn cgroup(&self, pid: u32) -> Option<String> {
        let file = File::open(self.path(pid, "cgroup")).ok()?;
        let mut text = Vec::new();
        file.take(MAX_CGROUP_BYTES).read_to_end(&mut text).ok()?;
        // A process that is being reaped has none any more.
        (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
    }

    /// The values of some variables; `None` when the environment cannot be read.
    pub(super) fn environ(
        &self,
        pid: u32,
        names: &'static [&'static str],
    ) -> Option<Vec<(&'static str, String)>> {
        let path = self.path(pid, "environ");
        // It is read from the process's memory, which can be a file that does not answer.
        let read = self.registry.guard().run(move || environ(File::open(path)?, names));
        let read = read.map_err(io::Error::other).flatten();
        read.inspect_err(|error| debug!(%error, pid, "environment not read")).ok()
    }

    fn path(&self, pid: u32, name: &str) -> PathBuf {
        self.registry.proc_root().join(format!("{pid}/{name}"))
    }
}

/// Hands out the lines of `maps`, and says how many there were.
pub(super) fn maps_lines(
    maps: &mut impl io::Read,
    buffer: &mut [u8],
    sink: &mut dyn FnMut(&MapsLine<'_>),
) -> io::Result<usize> {
    let (mut filled, mut total, mut lines) = (0, 0, 0);
    loop {
        let len = maps.read(&mut buffer[filled..])?;
        filled += len;
        total += len;
        let text = &buffer[..filled];
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in text[..whole].split(|byte| *byte == b'\n') {
            if let Some(line) = parse::maps_line(line) {
                lines += 1;
                sink(&line);
            }
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        // A line longer than the buffer cannot be (paths end at 4 KiB): not what we know.
        if len == 0 || filled == buffer.len() || total > MAX_MAPS_BYTES {
            return Ok(lines);
        }
    }
}

/// The values of some variables in `environ`.
pub(super) fn environ(
    environ: impl io::Read,
    names: &'static [&'static str],
) -> io::Result<Vec<(&'static str, String)>> {
    let mut text = Vec::new();
    environ.take(MAX_ENVIRON_BYTES).read_to_end(&mut text)?;
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for entry in text.split(|byte| *byte == 0) {
        for name in names {
            // Of a repeated variable programs see the first.
            if found.iter().any(|(known, _)| known == name) {
                continue;
            }
            if let Some(value) = parse::environ_value(entry, name) {
                let value = &value[..value.len().min(MAX_VALUE_BYTES)];
                found.push((name, String::from_utf8_lossy(value).into_owned()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
