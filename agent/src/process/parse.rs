//! The texts of `/proc/PID`: bytes in, values out. They hold names of the process's own choice, so
//! nothing in them is trusted; what does not parse is `None`.

use crate::object::{DeviceId, FileId};

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Name of the main thread, at most 15 bytes (64 for kernel workers).
    pub comm: Vec<u8>,
    /// The parent; 0 for none.
    pub parent: u32,
    /// A thread of the kernel, without memory of its own.
    pub kernel_thread: bool,
    /// Gone, and only waiting for its parent to notice.
    pub zombie: bool,
    /// When it started: hundredths of a second since boot, `CLOCK_BOOTTIME`.
    pub start_ticks: u64,
}

/// What `/proc/PID/status` says of who a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its number in its own pid namespace.
    pub own_pid: u32,
    /// Its effective user, as the host numbers users.
    pub user: u32,
}

/// A line of `/proc/PID/maps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapsLine<'a> {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Code may run here.
    pub executable: bool,
    /// Offset of the first byte in the file.
    pub file_offset: u64,
    /// The file; all zero for none.
    pub file: FileId,
    /// Path or name as the kernel shows it; may be empty.
    pub path: &'a [u8],
}

/// `PF_KTHREAD` of the flags.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Added to the path of a file without a name.
const DELETED: &[u8] = b" (deleted)";

/// Parses `/proc/PID/stat`.
pub fn stat(text: &[u8]) -> Option<Stat> {
    // The name is in parentheses and may hold any byte, parentheses and spaces too.
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let comm = text.get(open + 1..close)?.to_vec();
    let mut fields =
        text.get(close + 1..)?.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
    let state = fields.next()?;
    let parent = decimal(fields.next()?)?;
    // pgrp, session, tty_nr, tpgid; flags is field 9 and starttime field 22 (counted from 1).
    let flags = decimal(fields.nth(4)?)?;
    let start_ticks = decimal(fields.nth(12)?)?;
    Some(Stat {
        comm,
        parent: u32::try_from(parent).ok()?,
        kernel_thread: flags & KERNEL_THREAD != 0,
        zombie: matches!(state, b"Z" | b"X"),
        start_ticks,
    })
}

/// Parses `/proc/PID/status`. A kernel without pid namespaces has one number only.
pub fn status(text: &[u8]) -> Option<Status> {
    let lines = text.split(|byte| *byte == b'\n');
    let field = |name: &[u8]| {
        let value = lines.clone().find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"));
        value.map(|value| value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()))
    };
    // Real, effective, saved and file system user.
    let user = field(b"Uid")?.nth(1)?;
    // From the outermost namespace to its own.
    let own_pid = field(b"NSpid").or_else(|| field(b"Pid"))?.next_back()?;
    let number = |word| u32::try_from(decimal(word)?).ok();
    Some(Status { own_pid: number(own_pid)?, user: number(user)? })
}

/// Parses one line of `/proc/PID/maps`, without its newline.
pub fn maps_line(line: &[u8]) -> Option<MapsLine<'_>> {
    let (range, rest) = word(line)?;
    let (permissions, rest) = word(rest)?;
    let (file_offset, rest) = word(rest)?;
    let (device, rest) = word(rest)?;
    let (inode, rest) = word(rest)?;
    let (start, end) = split(range, b'-')?;
    let (major, minor) = split(device, b':')?;
    let (start, end) = (hex(start)?, hex(end)?);
    if start >= end {
        return None;
    }
    let device = DeviceId {
        major: u32::try_from(hex(major)?).ok()?,
        minor: u32::try_from(hex(minor)?).ok()?,
    };
    Some(MapsLine {
        start,
        end,
        executable: *permissions.get(2)? == b'x',
        file_offset: hex(file_offset)?,
        file: FileId { device, inode: decimal(inode)?, generation: 0 },
        path: rest.trim_ascii_start(),
    })
}

/// The path as it was when the file was mapped: without the kernel's mark for files that lost their
/// name, and with newlines as they are.
pub fn mapped_path(shown: &[u8]) -> Vec<u8> {
    let path = shown.strip_suffix(DELETED).unwrap_or(shown);
    let mut clean = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        // The kernel escapes the newline only, a backslash stays as it is.
        match tail.strip_prefix(b"012").filter(|_| byte == b'\\') {
            Some(after) => {
                clean.push(b'\n');
                rest = after;
            }
            None => {
                clean.push(byte);
                rest = tail;
            }
        }
    }
    clean
}

/// The value of `name` in one entry (`NAME=value`) of an environment.
pub fn environ_value<'a>(entry: &'a [u8], name: &str) -> Option<&'a [u8]> {
    entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return None;
    }
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    Some(text.split_at(end))
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == at)?;
    Some((&text[..position], &text[position + 1..]))
}

fn hex(text: &[u8]) -> Option<u64> {
    // `from_str_radix` would take a sign, and an empty text is no number.
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests;
