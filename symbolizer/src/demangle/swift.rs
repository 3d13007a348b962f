//! Names of the Swift language since Swift 4, as its ABI specifies them (docs/ABI/Mangling.rst).
//!
//! ```text
//! $s 4main 3Box V 4swap 4with y  AC   z _t      F
//!    main .Box   .swap (with:    main.Box, inout) -> ()
//! ```
//!
//! A name is a program for a stack: operands push parts (identifiers, types, lists), operators replace
//! those on top by what they make of them, and what is left at the end is the meaning. Earlier parts and
//! words of identifiers are referred to by letters. Two steps: `Parser` runs the program and makes a tree
//! (one file for each group of operators), `Printer` writes that as `swift-demangle` does. Names are
//! untrusted: parts, depth, work and output are bounded; neither step recurses without counting. A name
//! of which anything is not understood stays as it is. Old names (`_T` without `0`) are not read.

mod entities;
mod generics;
mod identifiers;
mod implementation;
mod parser;
mod print;
mod print_entities;
mod print_globals;
mod print_types;
mod specializations;
mod thunks;
mod tree;
mod types;
mod witnesses;

use self::{parser::Parser, print::Printer};

/// Deepest nesting of what is written.
const MAX_DEPTH: u32 = 128;

/// Most parts that are written, those that are written twice counted twice.
const MAX_STEPS: u32 = 20_000;

/// Deepest nesting of names within names: a specialized function is named after the closure it got.
const MAX_INNER_NAMES: u32 = 4;

/// What names begin with: stable, Swift 4.2, embedded. With an underscore since that is how debug
/// information and Mach-O have them.
const PREFIXES: [&str; 6] = ["$s", "_$s", "$S", "_$S", "$e", "_$e"];

/// What names of Swift 4.0 begin with: labels are parts of the types there.
const PREFIX_4_0: &str = "_T0";

/// Demangles `name`; `None` when it is not one of Swift.
pub(super) fn demangle(name: &str) -> Option<String> {
    let mut steps = MAX_STEPS;
    demangle_within(name, 0, &mut steps)
}

/// Demangles a name that may be within others. `steps` is what is left for all of them.
fn demangle_within(name: &str, level: u32, steps: &mut u32) -> Option<String> {
    let (mangled, has_labels_in_types) = match name.strip_prefix(PREFIX_4_0) {
        Some(mangled) => (mangled, true),
        None => (PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?, false),
    };
    let is_printable = mangled.bytes().all(|byte| byte.is_ascii_graphic());
    if level > MAX_INNER_NAMES || !is_printable {
        return None;
    }
    let parsed = Parser::new(mangled, has_labels_in_types).name()?;
    let mut printer = Printer::new(&parsed.tree, level, *steps);
    let done = printer.name(&parsed);
    *steps = printer.steps_left();
    done?;
    Some(printer.into_text())
}

#[cfg(test)]
mod tests;
