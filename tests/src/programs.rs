//! The programs of `programs/`, built from source once per content and compiler: those with a known
//! CPU split, and those with known stacks for the benchmark, and those whose stacks must reach a root.

mod build;
mod burning;
mod roots;

use std::path::PathBuf;

use build::Set;

pub use burning::{Burning, Report, Thread, start_deleted};
pub use roots::{BRIEF, LINKED, brief, linked, rooted};

/// The depths that [`frames`] has.
pub const FRAMES: [u32; 3] = [3, 30, 45];

/// How many programs [`crowd`] has.
pub const CROWD: u32 = 12;

/// A program with a known CPU split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// C, three functions.
    C,
    /// C++: a template, a virtual call, an inlined function.
    Cpp,
    /// Rust: a generic function, a trait object.
    Rust,
    /// Go.
    Go,
    /// Half of its time in the kernel.
    Syscalls,
    /// A library loaded while it runs.
    Dlopen,
    /// Work below 300 calls.
    Deep,
    /// Forks and executes itself all the time.
    Storm,
    /// The C program without symbols and debug information.
    Stripped,
}

/// Where Go keeps what it has built: nowhere in anybody's home.
pub fn go_cache() -> PathBuf {
    build::go_cache()
}

/// A program without frame pointers whose stacks have so many frames (`programs/cost/frames.cpp`).
///
/// # Panics
/// When that is not one of [`FRAMES`], or a compiler is missing or refuses.
pub fn frames(count: u32) -> PathBuf {
    assert!(FRAMES.contains(&count), "no program with {count} frames");
    build::folder(Set::Cost).join(format!("frames-{count}"))
}

/// Different programs that sleep most of the time (`programs/cost/crowd.cpp`).
///
/// # Panics
/// When a compiler is missing or refuses.
pub fn crowd() -> Vec<PathBuf> {
    let folder = build::folder(Set::Cost);
    (0..CROWD).map(|variant| folder.join(format!("crowd-{variant}"))).collect()
}

/// A script for Python that burns or mostly sleeps (`programs/cost/busy.py`).
///
/// # Panics
/// As [`frames`].
pub fn busy_script() -> PathBuf {
    build::folder(Set::Cost).join("busy.py")
}

// === impl Program ===

impl Program {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::C,
        Self::Cpp,
        Self::Rust,
        Self::Go,
        Self::Syscalls,
        Self::Dlopen,
        Self::Deep,
        Self::Storm,
        Self::Stripped,
    ];

    /// File name of the executable: also the `comm` of its threads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::C => "split-c",
            Self::Cpp => "split-cpp",
            Self::Rust => "split-rust",
            Self::Go => "split-go",
            Self::Syscalls => "syscalls",
            Self::Dlopen => "dlopen",
            Self::Deep => "deep",
            Self::Storm => "storm",
            Self::Stripped => "stripped",
        }
    }

    /// The executable, built if need be.
    ///
    /// # Panics
    /// When a compiler is missing or refuses.
    pub fn path(self) -> PathBuf {
        build::folder(Set::Split).join(self.name())
    }
}
