//! What became of an object's conversion, in memory and on disk.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use fleetprof_proto::{ids::ObjectId, symbol::Reason};
use fleetprof_symbolizer::CONVERTER_VERSION;
use tracing::warn;

use super::{
    Catalog, Stored,
    files::{Format, Kept},
    shared::id_of_shared,
};
use crate::durable::write_whole;

/// Longest reason that is kept, bytes.
const MAX_REASON_BYTES: usize = 1024;

/// When a conversion that was lost is tried again: the cause may have been a busy host.
const RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The state of an object's symbol table.
#[derive(Clone, Debug)]
pub(in crate::objects) enum Table {
    /// The object is read as it is.
    NotNeeded,
    /// To be made.
    Waiting,
    /// There, of so many bytes. The number tells it from an older one under the same name.
    Ready { bytes: u64, revision: u64 },
    /// It cannot be made.
    Failed(Failure),
}

/// Why an object has no table.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// In words.
    pub why: Arc<str>,
    /// What it means for an address.
    pub reason: Reason,
    /// When it is tried again; never if the object alone is to blame, until the converter changes.
    pub retry_at: Option<Instant>,
}

/// Where the names of an object come from.
#[derive(Clone, Debug)]
pub(crate) enum NamesOf {
    /// A listing of a kernel's symbols.
    Listing(PathBuf),
    /// A symbol table.
    Table { path: PathBuf, revision: u64 },
    /// A symbol table that is not made yet.
    Waiting,
    /// None.
    Failed(Failure),
}

/// An object without a table.
#[derive(Clone, Debug)]
pub(in crate::objects) struct ToConvert {
    pub(in crate::objects) id: ObjectId,
    pub(in crate::objects) path: PathBuf,
    /// A separate file with its debug information.
    pub(in crate::objects) debug: Option<PathBuf>,
    /// What its debug information has in common with others.
    pub(in crate::objects) shared: Option<PathBuf>,
    /// A package of its split units.
    pub(in crate::objects) package: Option<PathBuf>,
    /// Size of all.
    pub(in crate::objects) bytes: u64,
    /// Tells these files from later ones.
    version: u64,
}

// === impl Catalog ===

impl Catalog {
    /// Where the names of an object come from, if it is there.
    pub(crate) fn names_of(&self, id: &ObjectId) -> Option<NamesOf> {
        let stored = self.shared.read().get(id)?.clone();
        let (format, _) = stored.file?;
        Some(match stored.table {
            Table::NotNeeded => NamesOf::Listing(self.path(id, Kept::Object(format))),
            Table::Waiting => NamesOf::Waiting,
            Table::Ready { revision, .. } => {
                NamesOf::Table { path: self.path(id, Kept::Table), revision }
            }
            Table::Failed(failure) => NamesOf::Failed(failure),
        })
    }

    /// Objects that wait for their tables.
    pub(in crate::objects) fn to_convert(&self) -> Vec<ToConvert> {
        let objects = self.shared.read();
        objects.iter().filter_map(|(id, stored)| self.job(&objects, id, stored)).collect()
    }

    /// The same of one object, if it waits.
    pub(in crate::objects) fn waits(&self, id: &ObjectId) -> Option<ToConvert> {
        let objects = self.shared.read();
        objects.get(id).and_then(|stored| self.job(&objects, id, stored))
    }

    pub(super) fn job(
        &self,
        objects: &HashMap<ObjectId, Stored>,
        id: &ObjectId,
        stored: &Stored,
    ) -> Option<ToConvert> {
        let (_, bytes) = stored.file.filter(|_| stored.needs_table())?;
        let path = |format| self.path(id, Kept::Object(format));
        // It may be there, or come later.
        let shared = stored.shared.as_ref().map(id_of_shared).and_then(|shared| {
            let bytes = objects.get(&shared)?.debug?;
            Some((self.path(&shared, Kept::Object(Format::Debug)), bytes))
        });
        let others = [stored.debug, stored.split, shared.as_ref().map(|(_, bytes)| *bytes)];
        Some(ToConvert {
            id: id.clone(),
            path: path(Format::Elf),
            debug: stored.debug.map(|_| path(Format::Debug)),
            shared: shared.map(|(path, _)| path),
            package: stored.split.map(|_| path(Format::Split)),
            bytes: others.into_iter().flatten().fold(bytes, u64::saturating_add),
            version: stored.version,
        })
    }

    /// Puts the table that was made of `job` in its place, durably. Answers `false` when files came
    /// meanwhile that are not in it: were it kept, it would be newer than they are, and be taken for
    /// theirs after a restart.
    pub(in crate::objects) fn adopt_table(
        &self,
        job: &ToConvert,
        file: &Path,
        bytes: u64,
    ) -> io::Result<bool> {
        File::open(file)?.sync_all()?;
        let mut objects = self.shared.write();
        let Some(stored) = objects.get_mut(&job.id).filter(|stored| stored.is_of(job)) else {
            return Ok(false);
        };
        fs::rename(file, self.path(&job.id, Kept::Table))?;
        File::open(&self.shared.dir)?.sync_all()?;
        self.settle(stored, Table::ready(bytes));
        Ok(true)
    }

    /// Notes that an object has no table. Should that not be kept, it is found again after a restart.
    pub(in crate::objects) fn refuse(&self, job: &ToConvert, failure: Failure) {
        let mut objects = self.shared.write();
        // What is said of older files says nothing of these.
        let Some(stored) = objects.get_mut(&job.id).filter(|stored| stored.is_of(job)) else {
            return;
        };
        if failure.retry_at.is_none() {
            let path = self.path(&job.id, Kept::Failure);
            if let Err(error) = write_whole(&path, &failure.record()) {
                warn!(path = %path.display(), %error, "cannot keep why a conversion failed");
            }
        }
        // A table of older files says more than none.
        let table = match stored.table {
            Table::Ready { .. } => stored.table.clone(),
            _ => Table::Failed(failure),
        };
        self.settle(stored, table);
    }

    /// Asks for another table in place of one that is damaged or too old, or after a failure that may
    /// not be one any more. Answers whether there will be another attempt.
    pub(crate) fn convert_again(&self, id: &ObjectId, revision: Option<u64>) -> bool {
        let mut objects = self.shared.write();
        let Some(stored) = objects.get_mut(id) else { return false };
        let again = match &stored.table {
            Table::Ready { revision: now, .. } => Some(*now) == revision,
            Table::Failed(failure) => failure.may_be_retried(),
            Table::Waiting | Table::NotNeeded => false,
        };
        if again {
            let before = stored.all_bytes();
            stored.table = Table::Waiting;
            self.shared.used().change(before, stored.all_bytes());
        }
        again
    }

    fn settle(&self, stored: &mut Stored, table: Table) {
        let before = stored.all_bytes();
        stored.table = table;
        stored.renew = false;
        self.shared.used().change(before, stored.all_bytes());
    }
}

// === impl Stored ===

impl Stored {
    /// Its files are those of the job.
    fn is_of(&self, job: &ToConvert) -> bool {
        self.version == job.version
    }
}

// === impl Table ===

impl Table {
    pub(super) fn ready(bytes: u64) -> Self {
        Self::Ready { bytes, revision: fastrand::u64(..) }
    }

    pub(in crate::objects) fn bytes(&self) -> u64 {
        match self {
            Self::Ready { bytes, .. } => *bytes,
            _ => 0,
        }
    }

    /// Why there is none.
    pub(in crate::objects) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

// === impl Failure ===

impl Failure {
    /// The object is to blame.
    pub(in crate::objects) fn of_object(why: &str, reason: Reason) -> Self {
        let why = Arc::from(&why[..why.floor_char_boundary(MAX_REASON_BYTES)]);
        Self { why, reason, retry_at: None }
    }

    /// The object is likely to blame.
    pub(in crate::objects) fn perhaps_of_object(why: &str) -> Self {
        let retry_at = Instant::now().checked_add(RETRY_AFTER);
        Self { retry_at, ..Self::of_object(why, Reason::BadObject) }
    }

    fn may_be_retried(&self) -> bool {
        self.retry_at.is_some_and(|at| at <= Instant::now())
    }

    fn record(&self) -> Vec<u8> {
        format!("converter {CONVERTER_VERSION}\n{}\n{}\n", self.reason.as_str(), self.why)
            .into_bytes()
    }

    /// `None` when it is another converter's, or none.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let text = text.strip_prefix(&format!("converter {CONVERTER_VERSION}\n"))?;
        let (reason, why) = text.split_once('\n')?;
        let reason = Reason::from_name(reason)?;
        Some(Self::of_object(why.trim_end(), reason))
    }
}
