//! What both kinds of files say.

/// What became of some code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// There is a function now.
    Load {
        /// First address.
        start: u64,
        /// Bytes of code.
        size: u64,
        /// Its name.
        name: &'a [u8],
        /// Since when, `CLOCK_MONOTONIC` nanoseconds; 0 when the file does not tell.
        time_ns: u64,
    },
    /// Its code was moved.
    Move {
        /// Where it was.
        from: u64,
        /// Where it is.
        to: u64,
        /// Bytes of code.
        size: u64,
        /// Since when, as above.
        time_ns: u64,
    },
    /// The lines of the function that is loaded at `start` next.
    Lines {
        /// Its first address.
        start: u64,
        /// In the order of the file.
        rows: Rows<'a>,
    },
}

/// A source position: it holds from its address to the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// First address.
    pub(super) address: u64,
    /// Source line, 1-based; 0 when unknown.
    pub(super) line: u32,
    /// Source file.
    pub(super) file: &'a [u8],
}

/// The bytes of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) left: u64,
    pub(super) file: &'a [u8],
}

/// How far a parser came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Bytes that need not be seen again; may be more than it was given.
    pub(super) consumed: u64,
    /// Lines or records that are not as they must be.
    pub(super) malformed: u64,
    /// Nothing behind this can be understood.
    pub(super) damaged: bool,
}

/// What is read of a file at a time, bytes: a parser that is given so much always gets on.
pub(super) const MAX_PIECE_BYTES: usize = 1 << 20;
