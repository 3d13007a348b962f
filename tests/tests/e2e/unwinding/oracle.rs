//! Which frames are roots, as binutils and the languages say: nothing of it is the product's.

use std::{
    collections::HashMap,
    ops::Range,
    path::Path,
    process::{Command, Stdio},
};

use fleetprof_tests::pprof::Location;

/// Where a thread or a process begins, by language. Go's are those its own traceback ends at
/// (`topofstack` in `runtime/traceback.go`), and the entry points.
const NAMES: [&str; 15] = [
    "_start",
    "_dl_start_user",
    "clone",
    "__clone",
    "clone3",
    "__clone3",
    "thread_start",
    "runtime.goexit",
    "runtime.mstart",
    "runtime.mcall",
    "runtime.morestack",
    "runtime.rt0_go",
    "runtime.clone",
    "_rt0_amd64",
    "_rt0_amd64_linux",
];

/// Knows the roots of each file: the code whose unwind information says that it has no return address.
#[derive(Default)]
pub(crate) struct Oracle {
    files: HashMap<String, Vec<Range<u64>>>,
    /// Files with the same code, and with names.
    twins: HashMap<String, String>,
}

// === impl Oracle ===

impl Oracle {
    /// The code of a file without names is that of another, which has them.
    pub(crate) fn add_twin(&mut self, stripped: &Path, twin: &Path) {
        self.twins.insert(stripped.display().to_string(), twin.display().to_string());
    }

    /// Whether a frame is a root, by its name or its file's unwind information.
    pub(crate) fn is_root(&mut self, location: &Location) -> bool {
        let name = location.lines.last().map(|line| line.function.as_str()).unwrap_or_default();
        if is_root_name(name) {
            return true;
        }
        let Some(mapping) = &location.mapping else { return false };
        if !Path::new(&mapping.file).is_file() {
            return false;
        }
        let twin = self.twins.get(&mapping.file);
        let ranges = self
            .files
            .entry(mapping.file.clone())
            .or_insert_with(|| roots(&mapping.file, twin.map(String::as_str)));
        let offset = location.offset;
        ranges.iter().any(|range| range.contains(&offset))
    }
}

fn is_root_name(name: &str) -> bool {
    NAMES.contains(&name.trim_end_matches(".abi0"))
}

fn binutils(tool: &str, option: &str, file: &str) -> String {
    let mut command = Command::new(tool);
    let output = command.args([option, file]).stderr(Stdio::null()).output();
    String::from_utf8_lossy(&output.expect("binutils are there").stdout).into_owned()
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// File offsets of code without a return address, and of what has a root's name in its twin.
fn roots(file: &str, twin: Option<&str>) -> Vec<Range<u64>> {
    // LOAD 0xoffset 0xvirtual 0xphysical 0xfilesize 0xmemsize …
    let headers = binutils("readelf", "-lW", file);
    let segments: Vec<_> = headers
        .lines()
        .filter_map(|line| {
            let mut words = line.trim().strip_prefix("LOAD")?.split_whitespace().map(hex);
            let (offset, start) = (words.next()??, words.next()??);
            Some((offset, start, words.nth(1)??))
        })
        .collect();
    let to_offset = |range: Range<u64>| {
        let holds =
            |(_, start, size): &&(u64, u64, u64)| (*start..start + size).contains(&range.start);
        let (offset, start, _) = segments.iter().find(holds)?;
        Some(range.start - start + offset..range.end - start + offset)
    };
    let named = twin.map(|twin| named_roots(&binutils("nm", "-S", twin))).unwrap_or_default();
    let undefined = undefined(&binutils("readelf", "-wF", file));
    undefined.into_iter().chain(named).filter_map(to_offset).collect()
}

/// Addresses of functions with a root's name.
fn named_roots(symbols: &str) -> Vec<Range<u64>> {
    let range = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, size) = (hex(words.next()?)?, hex(words.next()?)?);
        words.next_back().filter(|name| is_root_name(name))?;
        Some(start..start + size)
    };
    symbols.lines().filter_map(range).collect()
}

/// Addresses of rows whose last column, the return address, is `u`: undefined. An entry without rows
/// has that of its common entry.
fn undefined(frames: &str) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut common: HashMap<u64, bool> = HashMap::new();
    let (mut entry, mut range, mut is_open) = (None, None, false);
    for line in frames.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if words.get(3) == Some(&"CIE") {
            (entry, range, is_open) = (hex(words[0]), None, false);
        } else if let Some((start, end)) = bounds(line) {
            (range, is_open) = (Some(start..end), false);
            let cie = words.iter().find_map(|word| word.strip_prefix("cie=")).and_then(hex);
            if cie.is_some_and(|cie| common.get(&cie) == Some(&true)) {
                found.push(start..end);
                is_open = true;
            }
        } else if let Some(address) =
            words.first().filter(|word| word.len() == 16).and_then(|word| hex(word))
        {
            let is_undefined = words.last() == Some(&"u");
            let Some(range) = &range else {
                common.extend(entry.map(|entry| (entry, is_undefined)));
                continue;
            };
            if std::mem::replace(&mut is_open, is_undefined)
                && let Some(open) = found.last_mut()
            {
                open.end = address;
            }
            if is_undefined {
                found.push(address..range.end);
            }
        }
    }
    found
}

/// `pc=start..end` of an entry's first line.
fn bounds(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_once(" pc=")?.1.split_once("..")?;
    Some((hex(start)?, hex(end.trim())?))
}

#[test]
fn a_row_without_a_return_address_lasts_until_the_next() {
    let text = "\
00000000 0000000000000014 00000000 CIE \"zR\" cf=1 df=-8 ra=16
   LOC           CFA      ra
0000000000000000 rsp+8    u

00000010 0000000000000014 0000001c FDE cie=00000000 pc=0000000000001190..00000000000011b2

00000018 0000000000000024 0000001c FDE cie=00000000 pc=0000000000026000..0000000000026360
   LOC           CFA      rbx   ra
0000000000026000 rsp+16   u     c-8
0000000000026006 rsp+24   c-16  u
0000000000026010 exp      c-16  c-8

00000040 0000000000000014 00000044 FDE cie=00000000 pc=0000000000026400..0000000000026422
   LOC           CFA      ra
0000000000026400 rsp+8    u
";
    assert_eq!(
        undefined(text),
        [0x1190..0x11b2, 0x26000..0x26000, 0x26006..0x26010, 0x26400..0x26400, 0x26400..0x26422]
    );
}
