//! Why some answers are not equal to LLVM's: every difference there may be, and how often.

use crate::{compare::Frame, object_file::ObjectFile};

/// Kinds of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// We name a linkage stub; LLVM nothing, or the symbol without a size before the stubs.
    Stub,
    /// LLVM goes on with a symbol without a size beyond the end of its section.
    BeyondSection,
    /// We go on with a symbol behind another one that lies within it.
    Around,
    /// LLVM names a label within a function, we the function.
    Label,
    /// We have the line of padding between functions, which is no function's.
    Padding,
    /// Anything else.
    Other,
}

/// A difference that is understood.
pub(crate) struct Explanation {
    /// Beginnings of the names of the objects it is seen in; empty: any.
    objects: &'static [&'static str],
    class: Class,
    /// Most of an object's addresses, in parts per 100,000.
    most: usize,
    /// Why.
    #[expect(dead_code, reason = "for the reader")]
    because: &'static str,
}

/// All of them.
const EXPLANATIONS: &[Explanation] = &[
    Explanation {
        objects: &[],
        class: Class::Stub,
        most: 10_000,
        because: "LLVM does not read linkage stubs of this form. Before them is `_init`, which has no \
                  size: LLVM lets it reach to the next symbol, out of its section.",
    },
    Explanation {
        objects: &[],
        class: Class::BeyondSection,
        most: 3_000,
        because: "The same where there is no stub: their common entry, and what is behind `_fini`.",
    },
    Explanation {
        objects: &[],
        class: Class::Around,
        most: 500,
        because: "A symbol within another one ends before it. LLVM knows nothing from there on; the \
                  outer symbol's size says that it is still its code.",
    },
    Explanation {
        objects: &[],
        class: Class::Label,
        most: 100,
        because: "Assembly by hand has labels that look like symbols without a size. LLVM calls all code \
                  behind one by its name; we keep the function whose size covers it, which debug \
                  information names, too. Lines are the same.",
    },
    Explanation {
        objects: &[],
        class: Class::Padding,
        most: 100,
        because: "The line program covers the padding between functions, the ranges of its unit do not. \
                  LLVM asks for the unit first, and has nothing.",
    },
];

/// How many of an object's differences are understood.
pub(crate) fn most(object: &str, class: Class, addresses: usize) -> usize {
    let fits = |one: &&Explanation| {
        let named = one.objects.iter().any(|name| object.starts_with(name));
        one.class == class && (one.objects.is_empty() || named)
    };
    let share = EXPLANATIONS.iter().find(fits).map_or(0, |one| one.most);
    (addresses * share).div_ceil(100_000)
}

/// What kind of difference it is.
pub(crate) fn class(address: u64, ours: &[Frame], llvm: &[Frame], object: &ObjectFile) -> Class {
    let no_line = |frames: &[Frame]| frames.iter().all(|frame| frame.line == 0);
    match (ours, llvm) {
        ([stub], rest) if stub.function.ends_with("@plt") && rest.len() < 2 && no_line(rest) => {
            Class::Stub
        }
        ([], [far]) if far.line == 0 && !object.same_section(&far.function, address) => {
            Class::BeyondSection
        }
        ([padding], []) if padding.function.is_empty() => Class::Padding,
        ([function], [label])
            if (function.line, &function.file) == (label.line, &label.file)
                && object.covers(&function.function, address)
                && object.is_without_size(&label.function) =>
        {
            Class::Label
        }
        ([outer], []) if outer.line == 0 && object.covers(&outer.function, address) => {
            Class::Around
        }
        _ => Class::Other,
    }
}
