//! The generated code of one program: its files, followed, and what they say.

use std::{fs::File, sync::Arc};

use rustc_hash::FxHashMap;
use tracing::debug;

use super::{
    FrameSource, JitConfig, JitEvents, Subject,
    follow::{self, Cursor, FollowError, Piece, Source},
    jitdump::Jitdump,
    perf_map::PerfMap,
    record::{MAX_PIECE_BYTES, Parsed, Record},
    table::{CodeTable, Found},
};
use crate::{
    object::{Place, Registry},
    process::parse::Status,
};

/// A program that was sampled in generated code.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) pid: u32,
    /// Sampled last.
    pub(super) used_ns: u64,
    /// Its process ended, or runs another program.
    pub(super) ended_ns: Option<u64>,
    /// Its files are not looked at before this.
    next_ns: u64,
    pause_ns: u64,
    perf_map: Followed<PerfMap>,
    jitdump: Followed<Jitdump>,
    /// What samples found, by which of the files it is from.
    shown: FxHashMap<(bool, Found), Arc<FrameSource>>,
}

#[derive(Debug)]
struct Followed<P> {
    cursor: Cursor,
    parser: P,
    table: CodeTable,
    damaged: bool,
}

/// What reading needs, and what came of it.
pub(super) struct Turn<'a> {
    pub(super) registry: &'a Registry,
    /// Makes a time of a file one of samples.
    pub(super) to_boottime: &'a dyn Fn(u64) -> u64,
    pub(super) events: &'a mut JitEvents,
    /// How much was read, bytes; a look at a file counts as some.
    pub(super) cost_bytes: u64,
}

/// How a look at a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// What was added was read.
    Read,
    /// There is no such file, or it must not be read.
    None,
    /// Its file system does not answer.
    Stalled,
}

/// Either of the parsers.
trait Parser: Default {
    fn parse(&mut self, piece: &Piece, sink: &mut dyn FnMut(Record<'_>)) -> Parsed;
}

/// How long until the files of a new program are looked at again, and then twice as long each time:
/// most code is generated in the beginning.
pub(super) const FIRST_PAUSE_NS: u64 = 100_000_000;

/// The longest pause.
const PAUSE_NS: u64 = 2_000_000_000;

/// The same where there is no file.
const PAUSE_WITHOUT_NS: u64 = 30_000_000_000;

/// The same when there was more than could be read at once.
const SHORT_PAUSE_NS: u64 = 100_000_000;

/// The same where a file system does not answer: each time costs every sample of the host half a second.
const STALLED_PAUSE_NS: u64 = 300_000_000_000;

/// What a look at a program's files costs besides what is read, as bytes.
const LOOK_BYTES: u64 = 64 << 10;

/// Most pieces of a file read at a time: samples wait meanwhile.
const MAX_PIECES: usize = (16 << 20) / MAX_PIECE_BYTES;

/// Most functions kept ready for samples.
const MAX_SHOWN: usize = 4096;

// === impl Parser ===

impl Parser for PerfMap {
    fn parse(&mut self, piece: &Piece, sink: &mut dyn FnMut(Record<'_>)) -> Parsed {
        Self::parse(self, &piece.bytes, sink)
    }
}

impl Parser for Jitdump {
    fn parse(&mut self, piece: &Piece, sink: &mut dyn FnMut(Record<'_>)) -> Parsed {
        Self::parse(self, &piece.bytes, piece.available, sink)
    }
}

// === impl Program ===

impl Program {
    pub(super) fn new(config: &JitConfig, pid: u32) -> Self {
        let max_bytes = config.max_program_bytes / 2;
        Self {
            pid,
            used_ns: 0,
            ended_ns: None,
            next_ns: 0,
            pause_ns: FIRST_PAUSE_NS,
            perf_map: Followed::new(max_bytes),
            jitdump: Followed::new(max_bytes),
            shown: FxHashMap::default(),
        }
    }

    /// What is at `address` at a time.
    pub(super) fn find(&mut self, address: u64, time_ns: u64) -> Option<Arc<FrameSource>> {
        let in_dump = self.jitdump.table.find(address, time_ns).map(|found| (true, found));
        let in_map = || self.perf_map.table.find(address, time_ns).map(|found| (false, found));
        // A jitdump says more.
        let key = in_dump.or_else(in_map)?;
        if let Some(known) = self.shown.get(&key) {
            return Some(Arc::clone(known));
        }
        let table = if key.0 { &self.jitdump.table } else { &self.perf_map.table };
        let (function, file, line) = table.show(key.1);
        let shown = FrameSource { function: function.into(), file: file.map(Into::into), line };
        let shown = Arc::new(shown);
        if self.shown.len() >= MAX_SHOWN {
            self.shown.clear();
        }
        self.shown.insert(key, Arc::clone(&shown));
        Some(shown)
    }

    /// Whether it is time to look at its files again.
    pub(super) fn is_due(&self, subject: &Subject<'_>) -> bool {
        !subject.ended && subject.time_ns >= self.next_ns
    }

    /// Reads what was added to its files.
    pub(super) fn refresh(&mut self, subject: &Subject<'_>, turn: &mut Turn<'_>) {
        let now_ns = subject.time_ns;
        turn.cost_bytes += LOOK_BYTES;
        let looks = match follow::status(turn.registry, self.pid) {
            Ok(Status { own_pid, user }) => {
                let perf_map = Source::PerfMap { pid: self.pid, own_pid };
                let jitdump = jitdump_of(subject, [own_pid, self.pid]).map(Source::Jitdump);
                let (shown, dump) = (&mut self.shown, &mut self.jitdump);
                let first = self.perf_map.read(&perf_map, user, turn, shown);
                let second = jitdump.map(|jitdump| dump.read(&jitdump, user, turn, shown));
                [first, second.unwrap_or(Look::None)]
            }
            Err(error) => {
                debug!(%error, pid = self.pid, "the user of a process is not known");
                [Look::None; 2]
            }
        };
        let found = looks.contains(&Look::Read);
        let longest_ns = if found { PAUSE_NS } else { PAUSE_WITHOUT_NS };
        let is_behind = found && !(self.perf_map.is_at_end() && self.jitdump.is_at_end());
        let pause_ns = match () {
            () if looks.contains(&Look::Stalled) => STALLED_PAUSE_NS,
            () if is_behind => SHORT_PAUSE_NS,
            () => self.pause_ns.min(longest_ns),
        };
        self.next_ns = now_ns.saturating_add(pause_ns);
        self.pause_ns = self.pause_ns.saturating_mul(2).min(longest_ns);
    }

    /// Forgets what no sample asks for any more.
    pub(super) fn forget(&mut self, now_ns: u64) {
        self.perf_map.table.forget(now_ns);
        self.jitdump.table.forget(now_ns);
    }

    /// Functions known.
    pub(super) fn entries(&self) -> usize {
        self.perf_map.table.len() + self.jitdump.table.len()
    }

    /// Memory it holds, bytes, estimated.
    pub(super) fn bytes(&self) -> usize {
        // Of a function shown, its name and file besides.
        let shown = self.shown.capacity() * (size_of::<(bool, Found)>() + 160);
        size_of::<Self>() + self.perf_map.table.bytes() + self.jitdump.table.bytes() + shown
    }
}

/// The jitdump that a program maps: that is how its writer says where it is.
fn jitdump_of(subject: &Subject<'_>, pids: [u32; 2]) -> Option<Place> {
    let mapping =
        subject.mappings.iter().find(|mapping| follow::is_jitdump(&mapping.path, pids))?;
    Some(mapping.place(subject.pid, None))
}

// === impl Followed ===

impl<P: Parser> Followed<P> {
    fn new(max_bytes: usize) -> Self {
        let table = CodeTable::new(max_bytes);
        Self { cursor: Cursor::default(), parser: P::default(), table, damaged: false }
    }

    /// Nothing is left to read, as far as is known.
    fn is_at_end(&self) -> bool {
        self.cursor.is_new() || self.cursor.is_at_end()
    }

    /// Reads on.
    fn read(
        &mut self,
        source: &Source,
        user: u32,
        turn: &mut Turn<'_>,
        shown: &mut FxHashMap<(bool, Found), Arc<FrameSource>>,
    ) -> Look {
        let mut file: Option<File> = None;
        for _ in 0..MAX_PIECES {
            let piece = follow::next_piece(turn.registry, source, user, file.take(), &self.cursor);
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    debug!(%error, ?source, "names of generated code not read");
                    return turn.failed(&error);
                }
            };
            turn.cost_bytes += piece.bytes.len() as u64;
            if piece.again {
                turn.events.files_replaced += 1;
                *self = Self::new(self.table.max_bytes());
                // Numbers of names are others now.
                shown.clear();
            }
            let consumed = self.take(&piece, turn);
            self.cursor.advance(&piece, consumed);
            if consumed == 0 || self.cursor.is_at_end() {
                break;
            }
            file = Some(piece.file);
        }
        Look::Read
    }

    /// Takes in a piece, and says how much of it.
    fn take(&mut self, piece: &Piece, turn: &mut Turn<'_>) -> u64 {
        if self.damaged {
            return piece.bytes.len() as u64;
        }
        let table = &mut self.table;
        let refused = table.refused();
        let parsed = self.parser.parse(piece, &mut |record| table.apply(record, turn.to_boottime));
        turn.events.malformed += parsed.malformed;
        turn.events.entries_refused += table.refused() - refused;
        self.damaged = parsed.damaged;
        if parsed.damaged { piece.bytes.len() as u64 } else { parsed.consumed }
    }
}

// === impl Turn ===

impl Turn<'_> {
    fn failed(&mut self, error: &FollowError) -> Look {
        match error {
            FollowError::Missing(_) => {}
            FollowError::Refused => self.events.files_refused += 1,
            FollowError::Io(_) => self.events.reads_failed += 1,
            FollowError::Stalled(_) => {
                self.events.reads_failed += 1;
                return Look::Stalled;
            }
        }
        Look::None
    }
}
