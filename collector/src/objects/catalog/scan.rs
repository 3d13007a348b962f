//! What is in the directory at the start.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use fleetprof_proto::ids::ObjectId;
use tracing::warn;

use super::{
    Stored, Table,
    files::{self, Format, Kept, parse_name},
    shared::id_of_shared,
    tables::Failure,
};

/// The files of one id as they are found.
#[derive(Default)]
struct Found {
    stored: Stored,
    /// When the last of its files was written.
    changed: Option<SystemTime>,
    /// The same of its debug file alone.
    debug: Option<SystemTime>,
    table: Option<(u64, SystemTime)>,
    failure: Option<(PathBuf, SystemTime)>,
}

/// Lists the directory.
///
/// # Errors
/// When it, or something in it, cannot be looked at.
pub(super) fn scan(dir: &Path) -> io::Result<HashMap<ObjectId, Stored>> {
    let mut found: HashMap<ObjectId, Found> = HashMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let Some((id, kept)) = parse_name(&path) else {
            warn!(path = %path.display(), "not an object; left alone");
            continue;
        };
        let meta = entry.metadata()?;
        let (bytes, time) = (files::space_of(&meta), meta.modified()?);
        let found = found.entry(id).or_default();
        match kept {
            Kept::Object(format) => {
                match format {
                    Format::Debug => {
                        found.stored.debug = Some(bytes);
                        found.debug = Some(time);
                    }
                    Format::Split => found.stored.split = Some(bytes),
                    Format::Elf | Format::Kallsyms => found.stored.file = Some((format, bytes)),
                }
                found.changed = found.changed.max(Some(time));
            }
            Kept::Shares => {
                // One that cannot be read leaves the object without parts of its debug information.
                let id = fs::read_to_string(&path).unwrap_or_default().trim_end().parse();
                found.stored.shared = id.ok().map(|id: ObjectId| id.build_id);
            }
            Kept::Path => {
                // It is for people: one that cannot be read is none.
                let text = fs::read_to_string(&path).unwrap_or_default();
                found.stored.path = Arc::from(text);
            }
            Kept::Table => found.table = Some((bytes, time)),
            Kept::Failure => found.failure = Some((path, time)),
        }
    }
    add_shared(&mut found);
    let settled = found.into_iter().map(|(id, found)| (id, found.settle()));
    let is_there =
        |stored: &Stored| stored.file.is_some() || stored.debug.is_some() || stored.split.is_some();
    Ok(settled.filter(|(_, stored)| is_there(stored)).collect())
}

/// A table is also made of what the object has in common with others.
fn add_shared(found: &mut HashMap<ObjectId, Found>) {
    let times: HashMap<ObjectId, SystemTime> =
        found.iter().filter_map(|(id, found)| Some((id.clone(), found.debug?))).collect();
    for found in found.values_mut() {
        let shared = found.stored.shared.as_ref().map(id_of_shared);
        let time = shared.and_then(|shared| times.get(&shared).copied());
        found.changed = found.changed.max(time);
    }
}

// === impl Found ===

impl Found {
    /// What is older than the object's files was made of others.
    fn settle(self) -> Stored {
        let Self { mut stored, changed, table, failure, .. } = self;
        let is_old = |time: SystemTime| changed.is_some_and(|changed| time < changed);
        stored.files_changed();
        if !matches!(stored.table, Table::Waiting) {
            return stored;
        }
        if let Some((bytes, time)) = table {
            // That it is whole and of this version is seen when it is opened.
            stored.table = Table::ready(bytes);
            stored.renew = is_old(time);
        } else if let Some((path, time)) = failure
            && !is_old(time)
            && let Some(failure) = Failure::read(&path)
        {
            stored.table = Table::Failed(failure);
        }
        stored
    }
}
