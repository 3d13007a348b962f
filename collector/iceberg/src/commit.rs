//! One commit to one table: the difference between the files that are live and those that the newest
//! snapshot names.

use std::collections::{BTreeMap, HashMap, HashSet};

use fleetprof_store::Blob;
use futures_util::{StreamExt as _, TryStreamExt as _};
use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, DataFile, MAIN_BRANCH, ManifestFile, Operation, Snapshot, Summary,
    TableMetadata,
};
use serde_json::json;
use tracing::warn;
use uuid::Uuid;

use crate::{
    bounds::{self, Unreadable},
    clean::Keep,
    columns,
    error::PublishError,
    manifests::{Kept, Named, Writer},
    tables::Change,
    versions::{Version, Versions},
};

/// Ends of files that are read at the same time.
const READS: usize = 16;
/// Manifests that name fewer files than this are small.
const SMALL: u32 = 1000;
/// Small manifests that are made one again.
const MANY_SMALL: usize = 16;

/// A table as its newest version has it.
#[derive(Debug, Default)]
pub(crate) struct State {
    version: Option<Version>,
    manifests: Vec<ManifestFile>,
    /// Paths of the files that it names.
    pub(crate) paths: HashSet<String>,
}

/// What a commit changes.
struct Difference<'a> {
    added: Vec<(&'a str, &'a Blob)>,
    removed: HashSet<&'a str>,
}

// === impl State ===

impl State {
    /// Reads a table.
    pub(crate) async fn read(
        versions: &Versions<'_>,
        known: &mut Named,
    ) -> Result<Self, PublishError> {
        let Some(version) = versions.newest().await? else { return Ok(Self::default()) };
        let manifests = match version.metadata.current_snapshot() {
            Some(snapshot) => versions.manifests(snapshot).await?,
            None => Vec::new(),
        };
        let mut paths = HashSet::new();
        for manifest in &manifests {
            paths.extend(versions.live_paths(manifest, known).await?.iter().cloned());
        }
        Ok(Self { version: Some(version), manifests, paths })
    }

    /// URLs of its manifests.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &str> {
        self.manifests.iter().map(|manifest| manifest.manifest_path.as_str())
    }

    /// Brings the table to what is wanted, by one new version unless nothing is different. `stays` says
    /// what is not removed though it is not wanted.
    pub(crate) async fn commit(
        &self,
        versions: &Versions<'_>,
        wanted: &BTreeMap<&str, &Blob>,
        stays: impl Fn(&str) -> bool,
        keep: &Keep,
    ) -> Result<Change, PublishError> {
        let is_new = |(path, _): &(&str, &Blob)| !self.paths.contains(*path);
        let added = wanted.iter().map(|(path, blob)| (*path, *blob)).filter(is_new).collect();
        let is_gone = |path: &&str| !wanted.contains_key(path) && !stays(path);
        let removed = self.paths.iter().map(String::as_str).filter(is_gone).collect();
        let difference = Difference { added, removed };
        let base = match &self.version {
            Some(version) => version.metadata.clone(),
            None => empty(versions)?,
        };
        let base = with_columns(versions, base)?;
        let (files, left_out) = describe(versions, &base, &difference).await?;
        let mut change = Change {
            version: self.version.as_ref().map_or(0, |version| version.number),
            added: files.len(),
            removed: difference.removed.len(),
            files: self.paths.len() + files.len() - difference.removed.len(),
            left_out,
            committed: false,
        };
        let has_changed = change.added + change.removed > 0;
        if let Some(version) = &self.version
            && !has_changed
            && version.metadata == base
        {
            versions.hint(version.number).await?;
            return Ok(change);
        }
        let metadata = if has_changed {
            self.snapshot(versions, base, files, &difference, keep).await?
        } else {
            base
        };
        change.version += 1;
        change.committed = true;
        if versions.create(change.version, &metadata).await? {
            return Ok(change);
        }
        Err(PublishError::LeaseLost)
    }

    /// The next version: with a snapshot of these changes.
    async fn snapshot(
        &self,
        versions: &Versions<'_>,
        base: TableMetadata,
        files: Vec<DataFile>,
        difference: &Difference<'_>,
        keep: &Keep,
    ) -> Result<TableMetadata, PublishError> {
        let refused = versions.refused("make a snapshot");
        let id = fastrand::i64(1..);
        let (parent, sequence) = (base.current_snapshot_id(), base.next_sequence_number());
        let mut writer = Writer::new(versions, base.current_schema().clone(), id);
        let sums = Sums::of(&files);
        writer.add(files).await?;
        let (kept, removed) = self.rewrite(versions, &mut writer, difference).await?;
        let (manifest_list, all) = writer.list(kept, parent, sequence).await?;
        let summary = summary(base.current_snapshot(), &sums, &Sums::of(&removed), &all);
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence)
            // Clocks of committers differ, and snapshots are in the order of their times.
            .with_timestamp_ms(now_ms().max(base.last_updated_ms()))
            .with_manifest_list(manifest_list)
            .with_summary(summary)
            .with_schema_id(base.current_schema_id())
            .build();
        let expired = keep.expired(&base);
        let current = self.version.as_ref().map(|version| versions.version_url(version.number));
        let built = base
            .into_builder(current)
            .set_branch_snapshot(snapshot, MAIN_BRANCH)
            .and_then(|builder| builder.remove_snapshots(&expired).build());
        Ok(built.map_err(refused)?.metadata)
    }

    /// Rewrites the manifests that name something that is removed, and many small ones. Gives those that
    /// stay as they are, and what was removed.
    async fn rewrite(
        &self,
        versions: &Versions<'_>,
        writer: &mut Writer<'_>,
        difference: &Difference<'_>,
    ) -> Result<(Vec<ManifestFile>, Vec<DataFile>), PublishError> {
        let small = self.manifests.iter().filter(|manifest| is_small(manifest)).count();
        let (mut stay, mut kept, mut removed) = (Vec::new(), Vec::new(), Vec::<Kept>::new());
        for manifest in &self.manifests {
            if named(manifest) == 0 {
                // It only says what an earlier snapshot removed.
                continue;
            }
            let merges = small >= MANY_SMALL && is_small(manifest);
            let live = if difference.removed.is_empty() && !merges {
                Vec::new()
            } else {
                versions.live(manifest).await?
            };
            let (mut gone, mut others) = (Vec::new(), Vec::new());
            for file in live {
                let path = versions.path_of(&file.entry)?;
                let is_gone = difference.removed.contains(path.as_str());
                if is_gone { &mut gone } else { &mut others }.push(file);
            }
            if gone.is_empty() && !merges {
                stay.push(manifest.clone());
                continue;
            }
            kept.append(&mut others);
            removed.append(&mut gone);
        }
        // Neighbours in time, so that old manifests stay as they are.
        kept.sort_by(|a, b| a.entry.file_path().cmp(b.entry.file_path()));
        writer.rewrite(&kept, &removed).await?;
        let removed = removed.into_iter().map(|kept| kept.entry.data_file().clone()).collect();
        Ok((stay, removed))
    }
}

fn is_small(manifest: &ManifestFile) -> bool {
    named(manifest) < SMALL
}

/// How many live files a manifest names.
fn named(manifest: &ManifestFile) -> u32 {
    let of = |count: Option<u32>| count.unwrap_or(SMALL);
    of(manifest.added_files_count).saturating_add(of(manifest.existing_files_count))
}

/// Describes the files that are new; also the number of those that cannot be.
async fn describe(
    versions: &Versions<'_>,
    base: &TableMetadata,
    difference: &Difference<'_>,
) -> Result<(Vec<DataFile>, usize), PublishError> {
    let schema = base.current_schema();
    let described = futures_util::stream::iter(&difference.added).map(|(path, blob)| async move {
        let url = versions.root.url(path);
        match bounds::describe(versions.blobs, blob, url, schema).await {
            Ok(file) => Ok(Some(file)),
            Err(Unreadable::Damaged(what)) => {
                // Replaced or removed a moment ago, or collectors find out, too, and quarantine it.
                warn!(path, what, "left out of the tables: it cannot be read");
                Ok(None)
            }
            Err(Unreadable::Store(error)) => Err(PublishError::from(error)),
        }
    });
    let described: Vec<Option<DataFile>> = described.buffered(READS).try_collect().await?;
    let all = described.len();
    let files: Vec<DataFile> = described.into_iter().flatten().collect();
    let left_out = all - files.len();
    Ok((files, left_out))
}

/// A table without files. Made by hand: the library would give its columns other numbers.
fn empty(versions: &Versions<'_>) -> Result<TableMetadata, PublishError> {
    let schema = columns::schema(versions.table.kind());
    let defect = |what: String| versions.damaged(&versions.location(), what);
    let schema = schema.map_err(defect)?;
    let last_column = schema.field_id_to_name_map().keys().max().copied().unwrap_or(0);
    let metadata = json!({
        "format-version": 2,
        "table-uuid": Uuid::new_v4(),
        "location": versions.location(),
        "last-sequence-number": 0,
        "last-updated-ms": now_ms(),
        "last-column-id": last_column,
        "current-schema-id": 0,
        "schemas": [schema],
        "default-spec-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": []}],
        "last-partition-id": 999,
        "default-sort-order-id": 0,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "properties": {},
        "snapshots": [],
    });
    serde_json::from_value(metadata).map_err(|error| defect(error.to_string()))
}

/// The same table with the columns and properties that this version of fleetprof gives it.
fn with_columns(
    versions: &Versions<'_>,
    base: TableMetadata,
) -> Result<TableMetadata, PublishError> {
    let defect = |what: String| versions.damaged(&versions.location(), what);
    let schema = columns::schema(versions.table.kind()).map_err(defect)?;
    let mapping = serde_json::to_string(&columns::name_mapping(&schema));
    let mapping = mapping.map_err(|error| defect(error.to_string()))?;
    let properties = HashMap::from([
        (DEFAULT_SCHEMA_NAME_MAPPING.to_owned(), mapping),
        ("write.metadata.previous-versions-max".to_owned(), Keep::LOGGED_VERSIONS.to_string()),
        // The files are the store's: it removes them when nobody needs them any more.
        ("gc.enabled".to_owned(), "false".to_owned()),
    ]);
    let is_current = base.current_schema().as_struct() == schema.as_struct();
    let has_all = properties.iter().all(|(name, value)| base.properties().get(name) == Some(value));
    if is_current && has_all {
        return Ok(base);
    }
    let built = base
        .into_builder(None)
        .set_properties(properties)
        .and_then(|builder| builder.add_current_schema(schema))
        .and_then(iceberg::spec::TableMetadataBuilder::build);
    Ok(built.map_err(versions.refused("describe the columns"))?.metadata)
}

/// Files in numbers.
#[derive(Default)]
struct Sums {
    files: usize,
    rows: u64,
    bytes: u64,
}

// === impl Sums ===

impl Sums {
    fn of(files: &[DataFile]) -> Self {
        Self {
            files: files.len(),
            rows: files.iter().map(DataFile::record_count).sum(),
            bytes: files.iter().map(DataFile::file_size_in_bytes).sum(),
        }
    }
}

/// What a snapshot says of itself.
///
/// Merged files and new ones come in one commit, and which of the rows of a merged file were named before
/// is not known: what both adds and removes is an `overwrite`. `replace` promises that no data changed.
fn summary(
    parent: Option<&iceberg::spec::SnapshotRef>,
    added: &Sums,
    removed: &Sums,
    manifests: &[ManifestFile],
) -> Summary {
    let operation = match (added.files, removed.files) {
        (_, 0) => Operation::Append,
        (0, _) => Operation::Delete,
        _ => Operation::Overwrite,
    };
    let before = |name: &str| -> u64 {
        let value = parent.and_then(|it| it.summary().additional_properties.get(name));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    let bytes = before("total-files-size").saturating_add(added.bytes);
    let rows = |manifest: &ManifestFile| {
        manifest.added_rows_count.unwrap_or(0) + manifest.existing_rows_count.unwrap_or(0)
    };
    let total_rows: u64 = manifests.iter().map(rows).sum();
    let total_files: u64 = manifests.iter().map(|manifest| u64::from(named(manifest))).sum();
    let mut properties: HashMap<String, String> = [
        ("total-data-files", total_files),
        ("total-records", total_rows),
        ("total-files-size", bytes.saturating_sub(removed.bytes)),
        ("total-delete-files", 0),
        ("total-position-deletes", 0),
        ("total-equality-deletes", 0),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_string()))
    .into();
    for (sums, files, rows, bytes) in [
        (added, "added-data-files", "added-records", "added-files-size"),
        (removed, "deleted-data-files", "deleted-records", "removed-files-size"),
    ] {
        if sums.files > 0 {
            properties.insert(files.to_owned(), sums.files.to_string());
            properties.insert(rows.to_owned(), sums.rows.to_string());
            properties.insert(bytes.to_owned(), sums.bytes.to_string());
        }
    }
    Summary { operation, additional_properties: properties }
}

pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
