//! Kernel symbols from text.
//!
//! In: the lines of a kallsyms listing, sorted or not, with addresses relative to `_text` or to a
//! module's base. Out: the function that contains an address. Pure: no I/O, no knowledge of the
//! running kernel. blazesym's own kallsyms source is not used because it drops the symbol at
//! address 0 (a relative listing has one), names code after data symbols, and names everything past
//! the last symbol.

use std::cmp::Reverse;

use thiserror::Error;

/// Longest listing accepted, bytes; a large distribution kernel's is 15 MB.
pub const MAX_LISTING_BYTES: u64 = 64 << 20;

/// Longest symbol name kept, bytes; the kernel's own limit (KSYM_NAME_LEN) is 512.
const MAX_NAME_BYTES: usize = 4096;

/// How far the last symbol of a listing reaches, bytes: nothing says where it ends.
const LAST_SYMBOL_REACH: u64 = 64 << 10;

/// A parsed listing.
#[derive(Debug)]
pub struct Kallsyms {
    /// Ascending and distinct by start.
    spans: Vec<Span>,
    /// All names, one after the other.
    names: String,
}

/// From its start to the start of the next span.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    /// Where the name stands in `names`; an empty one marks data.
    name_at: u32,
    name_len: u16,
}

/// A listing that cannot be used.
#[derive(Debug, Error)]
pub enum KallsymsError {
    /// Bigger than [`MAX_LISTING_BYTES`].
    #[error("kallsyms listing of {0} bytes: at most {MAX_LISTING_BYTES} are accepted")]
    TooLarge(u64),
    /// Nothing in it is a symbol.
    #[error("no line is a kallsyms symbol (`<hex address> <type> <name>`)")]
    NoSymbols,
}

/// One line that is a symbol.
struct Entry<'a> {
    address: u64,
    /// `None` for data.
    function: Option<&'a str>,
    binding: Binding,
}

/// How strongly a symbol holds its name, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Global,
    Local,
    Weak,
}

/// What one of several names for one address is worth; the least is the best: a function before
/// data, a stronger before a weaker, a real name before a second one, few underscores before many
/// (markers have some), and then, as perf has it, the last one listed.
type Rank = (bool, Binding, bool, usize, Reverse<usize>);

// === impl Kallsyms ===

impl Kallsyms {
    /// Parses a listing. Lines that are not symbols are skipped.
    ///
    /// # Errors
    /// When the listing is too large or has no function at all.
    pub fn parse(listing: &[u8]) -> Result<Self, KallsymsError> {
        let size = listing.len() as u64;
        if size > MAX_LISTING_BYTES {
            return Err(KallsymsError::TooLarge(size));
        }
        let lines = listing.split(|&b| b == b'\n').filter_map(entry).enumerate();
        let mut entries: Vec<(Rank, Entry<'_>)> =
            lines.map(|(position, entry)| (entry.rank(position), entry)).collect();
        // Of several names for one address the best comes first.
        entries.sort_unstable_by_key(|(rank, entry)| (entry.address, *rank));
        entries.dedup_by_key(|(_, entry)| entry.address);
        let mut parsed = Self { spans: Vec::with_capacity(entries.len()), names: String::new() };
        entries.iter().for_each(|(_, entry)| parsed.push(entry));
        if parsed.names.is_empty() { Err(KallsymsError::NoSymbols) } else { Ok(parsed) }
    }

    /// The function that contains `address`.
    pub fn lookup(&self, address: u64) -> Option<&str> {
        let after = self.spans.partition_point(|span| span.start <= address);
        let span = self.spans.get(after.checked_sub(1)?)?;
        if after == self.spans.len() && address - span.start >= LAST_SYMBOL_REACH {
            return None;
        }
        let from = span.name_at as usize;
        self.names.get(from..from + usize::from(span.name_len)).filter(|name| !name.is_empty())
    }

    /// Memory it holds, bytes.
    pub fn heap_bytes(&self) -> u64 {
        (self.spans.capacity() * size_of::<Span>() + self.names.capacity()) as u64
    }

    fn push(&mut self, entry: &Entry<'_>) {
        let name = entry.function.unwrap_or_default();
        // MAX_LISTING_BYTES and MAX_NAME_BYTES keep both numbers far inside their types.
        let name_at = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let name_len = u16::try_from(name.len()).unwrap_or(0);
        self.names.push_str(name);
        self.spans.push(Span { start: entry.address, name_at, name_len });
    }
}

fn entry(line: &[u8]) -> Option<Entry<'_>> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let address = std::str::from_utf8(words.next()?).ok()?;
    // `from_str_radix` would take a sign.
    if !address.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let address = u64::from_str_radix(address, 16).ok()?;
    let &[kind] = words.next()? else { return None };
    let name = std::str::from_utf8(words.next()?).ok()?;
    let is_function = match kind {
        b't' | b'T' | b'w' | b'W' | b'i' => name.len() <= MAX_NAME_BYTES,
        // Absolute symbols are numbers, not places.
        b'a' | b'A' => return None,
        b if b.is_ascii_alphabetic() => false,
        _ => return None,
    };
    let binding = match kind {
        b'w' | b'W' => Binding::Weak,
        kind if kind.is_ascii_uppercase() => Binding::Global,
        _ => Binding::Local,
    };
    Some(Entry { address, function: is_function.then_some(name), binding })
}

/// Whether it is a second name that the kernel's build makes for a function: of code that runs at its
/// physical address, or of the 32-bit entry to a system call that takes no arguments and so needs no
/// code of its own.
fn is_second_name(name: &str) -> bool {
    // The padding before a function is named after it.
    let name = name.strip_prefix("__pfx_").unwrap_or(name);
    name.starts_with("__pi_") || name.starts_with("__ia32_sys_")
}

// === impl Entry ===

impl Entry<'_> {
    /// `position` is the number of its line.
    fn rank(&self, position: usize) -> Rank {
        let name = self.function.unwrap_or_default();
        let underscores = name.len() - name.trim_start_matches('_').len();
        let is_data = self.function.is_none();
        (is_data, self.binding, is_second_name(name), underscores, Reverse(position))
    }
}

#[cfg(test)]
mod tests;
