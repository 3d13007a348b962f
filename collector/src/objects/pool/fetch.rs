//! Copies of other collectors' tables, fetched when somebody needs names of them: each once, however many
//! need it.

use std::{
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fleetprof_store::{StoreError, SymbolContent, SymbolTable};
use fleetprof_symbolizer::{KernelListing, TableFile, TableFileError};
use thiserror::Error;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Shared;
use crate::metrics::ResultLabel;

/// The longest that a fetch may take, and as much again for each such part of the table.
const TIME: Duration = Duration::from_secs(20);
const TIME_FOR_BYTES: u64 = 32 << 20;
/// How long a failure is remembered: queries do not wait again meanwhile.
const PAUSE: Duration = Duration::from_secs(5);

/// What becomes of a table that is not here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fetch {
    Running,
    Failed(Instant),
}

/// Why there is no copy.
#[derive(Debug, Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no answer in time")]
    Silent,
    #[error("the quota for objects is used up (--object-quota)")]
    Quota,
    #[error("the disk has too little space for objects")]
    Disk,
    #[error("cannot keep a copy: {0}")]
    Io(#[from] io::Error),
    #[error("this version cannot read it: {0}")]
    Strange(String),
}

// === impl Trouble ===

impl Trouble {
    /// A word for counters.
    fn result(&self) -> &'static str {
        match self {
            Self::Store(error) if error.is_damage() => "damaged",
            Self::Store(_) | Self::Silent => "failed",
            Self::Quota | Self::Disk | Self::Io(_) => "no_room",
            Self::Strange(_) => "strange",
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Sees to it that a table is fetched; `false` when that has just failed.
    pub(super) fn fetch(self: &Arc<Self>, table: SymbolTable) -> bool {
        let mut fetches = self.fetches();
        match fetches.get(&table.id) {
            Some(Fetch::Running) => return true,
            Some(Fetch::Failed(at)) if at.elapsed() < PAUSE => return false,
            _ if self.has_ended() => return false,
            _ => {}
        }
        fetches.retain(|_, fetch| !matches!(fetch, Fetch::Failed(at) if at.elapsed() >= PAUSE));
        fetches.insert(table.id, Fetch::Running);
        drop(fetches);
        let (shared, id) = (self.clone(), table.id);
        self.runtime.spawn(async move {
            let bringing = tokio::spawn({
                let shared = shared.clone();
                async move { shared.bring(&table).await }
            });
            // One that panicked has said so.
            let brought = bringing.await.unwrap_or(false);
            let mut fetches = shared.fetches();
            match brought {
                true => fetches.remove(&id),
                false => fetches.insert(id, Fetch::Failed(Instant::now())),
            };
        });
        true
    }

    /// Fetches a table; answers whether its copy is there.
    async fn bring(&self, table: &SymbolTable) -> bool {
        let brought = match self.fetching.acquire().await {
            Ok(_turn) => self.copy(table).await,
            Err(_) => return false,
        };
        let result = brought.as_ref().err().map_or("fetched", Trouble::result);
        self.metrics.symbol_fetches.get_or_create(&ResultLabel { result }).inc();
        let Err(trouble) = brought else {
            debug!(object = %table.object, "symbol table fetched");
            return true;
        };
        if let Some(silent) = self.log.allow() {
            let (object, error) = (&table.object, &trouble);
            warn!(%object, %error, silent, "cannot fetch the symbol table of an object");
        }
        match trouble {
            Trouble::Store(error) if error.is_damage() => self.give_up(table).await,
            Trouble::Strange(_) => self.index_mut().is_strange(table),
            _ => {}
        }
        false
    }

    async fn copy(&self, table: &SymbolTable) -> Result<(), Trouble> {
        let bytes = table.content.blob().map_or(0, |blob| blob.bytes);
        let space = loop {
            match self.catalog.reserve(bytes) {
                Some(space) => break space,
                None if self.copies.make_room() => {}
                None => return Err(Trouble::Quota),
            }
        };
        while !self.catalog.has_room(bytes)? {
            if !self.copies.make_room() {
                return Err(Trouble::Disk);
            }
        }
        let file = self.scratch.join(format!("fetch-{:032x}", fastrand::u128(..)));
        let parts = u32::try_from(bytes / TIME_FOR_BYTES).unwrap_or(u32::MAX);
        let time = TIME.saturating_mul(parts.saturating_add(1));
        let fetched = match timeout(time, self.store.fetch_symbols(table, &file)).await {
            Ok(fetched) => fetched.map_err(Trouble::from),
            Err(_) => Err(Trouble::Silent),
        };
        let kept = fetched.and_then(|()| {
            check(&table.content, &file)?;
            Ok(self.copies.adopt(table.id, &file, space)?)
        });
        if kept.is_err() {
            // It may not exist, and is removed at the next start otherwise.
            let _ = fs::remove_file(&file);
        }
        kept
    }

    /// The file is not what it was, so nobody can have it: another one is made.
    async fn give_up(&self, table: &SymbolTable) {
        match self.store.give_up_symbols(table.id).await {
            Ok(_) => {
                self.learn(vec![SymbolTable { retired: true, ..table.clone() }]);
            }
            Err(error) => debug!(%error, "a damaged symbol table is given up later"),
        }
    }
}

/// Reads it once: another version may have written it.
fn check(content: &SymbolContent, file: &Path) -> Result<(), Trouble> {
    match content {
        SymbolContent::Table(_) => match TableFile::open(file) {
            Ok(_) => Ok(()),
            Err(TableFileError::Io(error)) => Err(error.into()),
            Err(TableFileError::Table(error)) => Err(Trouble::Strange(error.to_string())),
        },
        SymbolContent::Listing(_) => match KernelListing::open(file) {
            Ok(_) => Ok(()),
            Err(error) => Err(Trouble::Strange(error.to_string())),
        },
        SymbolContent::None(_) => Ok(()),
    }
}
