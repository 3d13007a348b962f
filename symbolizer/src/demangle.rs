//! Names for people.
//!
//! In: a function name as it stands in a symbol table or in debug information, from an untrusted
//! file. Out: the name an engineer knows, of bounded size, made in bounded time. C++ (Itanium ABI),
//! Rust (legacy and v0), D and Swift. A name that is not mangled, or that cannot be demangled within the
//! limits, stays as it is. Not done here: caching (see `names`).

mod dlang;
mod swift;

use std::fmt::{self, Write};

/// Longest mangled name that is tried, bytes: the work of demangling grows faster than the name.
const MAX_MANGLED_BYTES: usize = 16 * 1024;

/// Longest demangled name, bytes. A few bytes of back references can unfold to gigabytes.
const MAX_DEMANGLED_BYTES: usize = 16 * 1024;

/// How deep C++ names may be nested, in levels of the library's grammar; some seven are one level of templates.
const CPP_DEPTH: u32 = 96;

/// The library tries a literal of a class, `L` and a name, in three ways one after the other. Literals within the
/// type of a literal take three times as long, and as much memory, with each level: names with more than so many
/// may be nested less. A name of 64 bytes could take 0.2 s and 100 MB otherwise.
const CPP_LITERALS: usize = 6;
const CPP_DEPTH_OF_LITERALS: u32 = 64;

/// A buffer that refuses to grow past its limit, which makes the demangler give up.
struct Bounded {
    text: String,
}

/// Demangles `name`; `None` when it stays as it is.
pub fn demangle(name: &str) -> Option<String> {
    let unversioned = without_version(name);
    if unversioned.len() > MAX_MANGLED_BYTES {
        return None;
    }
    rust(unversioned)
        .or_else(|| cpp(unversioned))
        .or_else(|| dlang::demangle(unversioned))
        .or_else(|| swift::demangle(unversioned))
        .or_else(|| (unversioned.len() < name.len()).then(|| unversioned.to_owned()))
}

fn rust(name: &str) -> Option<String> {
    let symbol = rustc_demangle::try_demangle(name).ok()?;
    // The alternate form leaves out the hash that distinguishes builds of the same function.
    let text = Bounded::collect(|out| write!(out, "{symbol:#}"))?;
    // The library marks with this text what it could not parse or did not dare to unfold.
    (!text.contains("{invalid syntax}") && !text.contains("{size limit reached}")).then_some(text)
}

fn cpp(name: &str) -> Option<String> {
    // Without this test a C function called `i` would become the type `int`.
    if !["_Z", "__Z", "___Z", "____Z"].iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let is_class = |pair: &&[u8]| pair[0] == b'L' && !pair[1].is_ascii_lowercase();
    let literals = name.as_bytes().windows(2).filter(is_class).count();
    let depth = if literals > CPP_LITERALS { CPP_DEPTH_OF_LITERALS } else { CPP_DEPTH };
    let limits = cpp_demangle::ParseOptions::default().recursion_limit(depth);
    let symbol = cpp_demangle::BorrowedSymbol::new_with_options(name.as_bytes(), &limits).ok()?;
    // `Array<int, 3>` rather than `Array<int, (unsigned int)3>`.
    let options = cpp_demangle::DemangleOptions::new().hide_expression_literal_types();
    Bounded::collect(|out| symbol.structured_demangle(out, &options))
}

/// Cuts the symbol version that linkers write into `.symtab`: `memcpy@@GLIBC_2.14`.
fn without_version(name: &str) -> &str {
    let Some((base, version)) = name.split_once('@') else { return name };
    let version = version.strip_prefix('@').unwrap_or(version);
    let is_version = version.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    if base.is_empty() || !is_version { name } else { base }
}

// === impl Bounded ===

impl Bounded {
    fn collect(write: impl FnOnce(&mut Self) -> fmt::Result) -> Option<String> {
        let mut out = Self { text: String::new() };
        write(&mut out).ok()?;
        (!out.text.is_empty()).then_some(out.text)
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > MAX_DEMANGLED_BYTES {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
