//! Manifests, which name files, and lists of manifests.
//!
//! The library writes to storage of its own. Here that is memory, and what it wrote is then put into the
//! store like every other file of it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use iceberg::{
    io::{FileIO, OutputFile},
    spec::{
        FormatVersion, Manifest, ManifestEntry, ManifestEntryRef, ManifestFile, ManifestList,
        ManifestListWriter, ManifestWriter, ManifestWriterBuilder, PartitionSpec, SchemaRef,
        Snapshot,
    },
};
use uuid::Uuid;

use crate::{error::PublishError, versions::Versions};

/// Files that a manifest names at most.
const MANIFEST_FILES: usize = 5000;

/// Paths that manifests name as live, by the URL of the manifest: they never change, so they are read once.
pub(crate) type Named = HashMap<String, Arc<Vec<String>>>;

/// A file as it was taken over, with the numbers that it keeps.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) entry: ManifestEntryRef,
    snapshot: i64,
    sequence: i64,
    file_sequence: i64,
}

/// What one snapshot writes manifests with.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    versions: &'a Versions<'a>,
    memory: FileIO,
    schema: SchemaRef,
    snapshot: i64,
    /// A part of the names of its files, which nobody else uses.
    name: Uuid,
    written: Vec<ManifestFile>,
}

// === impl Versions ===

impl Versions<'_> {
    /// The manifests of a snapshot.
    pub(crate) async fn manifests(
        &self,
        snapshot: &Snapshot,
    ) -> Result<Vec<ManifestFile>, PublishError> {
        let (path, bytes) = self.described(snapshot.manifest_list()).await?;
        let list = ManifestList::parse_with_version(&bytes, FormatVersion::V2);
        let list = list.map_err(|error| self.damaged(&path, error.to_string()))?;
        Ok(list.consume_entries().into_iter().collect())
    }

    /// The files that a manifest names as live.
    pub(crate) async fn live(&self, manifest: &ManifestFile) -> Result<Vec<Kept>, PublishError> {
        let (path, bytes) = self.described(&manifest.manifest_path).await?;
        let parsed = Manifest::parse_avro(&bytes);
        let parsed = parsed.map_err(|error| self.damaged(&path, error.to_string()))?;
        let (entries, _) = parsed.into_parts();
        let live = entries.into_iter().filter(|entry| entry.is_alive());
        Ok(live.map(|entry| Kept::new(entry, manifest)).collect())
    }

    /// Paths of the files that a manifest names as live.
    pub(crate) async fn live_paths(
        &self,
        manifest: &ManifestFile,
        known: &mut Named,
    ) -> Result<Arc<Vec<String>>, PublishError> {
        if let Some(paths) = known.get(&manifest.manifest_path) {
            return Ok(paths.clone());
        }
        let live = self.live(manifest).await?;
        let paths = live.iter().map(|kept| self.path_of(&kept.entry)).collect::<Result<_, _>>()?;
        let paths: Arc<Vec<String>> = Arc::new(paths);
        known.insert(manifest.manifest_path.clone(), paths.clone());
        Ok(paths)
    }

    /// Of a file that a table names.
    pub(crate) fn path_of(&self, entry: &ManifestEntry) -> Result<String, PublishError> {
        let url = entry.file_path();
        let path = self.root.path(url);
        path.map(str::to_owned).ok_or_else(|| self.damaged(url, "it is of no file here".to_owned()))
    }

    /// A file that describes the table, by its URL: its path, and its bytes.
    async fn described(&self, url: &str) -> Result<(String, Bytes), PublishError> {
        let path = self.root.path(url);
        let path = path.ok_or_else(|| self.damaged(url, "it is elsewhere".to_owned()))?.to_owned();
        let bytes = self.blobs.small(&path).await?;
        let bytes = bytes.ok_or_else(|| self.damaged(&path, "it is gone".to_owned()))?;
        Ok((path, bytes))
    }
}

// === impl Kept ===

impl Kept {
    /// What an entry does not say of itself, its manifest says.
    fn new(entry: ManifestEntryRef, manifest: &ManifestFile) -> Self {
        Self {
            snapshot: entry.snapshot_id.unwrap_or(manifest.added_snapshot_id),
            sequence: entry.sequence_number.unwrap_or(manifest.sequence_number),
            file_sequence: entry.file_sequence_number.unwrap_or(manifest.sequence_number),
            entry,
        }
    }
}

// === impl Writer ===

impl<'a> Writer<'a> {
    /// Of a snapshot.
    pub(crate) fn new(versions: &'a Versions<'a>, schema: SchemaRef, snapshot: i64) -> Self {
        let (memory, name) = (FileIO::new_with_memory(), Uuid::new_v4());
        Self { versions, memory, schema, snapshot, name, written: Vec::new() }
    }

    /// Writes manifests of files that are new.
    pub(crate) async fn add(
        &mut self,
        files: Vec<iceberg::spec::DataFile>,
    ) -> Result<(), PublishError> {
        let refused = self.versions.refused("add files");
        for chunk in files.chunks(MANIFEST_FILES) {
            let mut manifest = self.manifest()?;
            for file in chunk {
                // Minus one: the number that the snapshot gets.
                manifest.add_file(file.clone(), -1).map_err(&refused)?;
            }
            self.put(manifest).await?;
        }
        Ok(())
    }

    /// Writes manifests of files that were named before, of which some no longer are.
    pub(crate) async fn rewrite(
        &mut self,
        kept: &[Kept],
        removed: &[Kept],
    ) -> Result<(), PublishError> {
        let refused = self.versions.refused("rewrite manifests");
        let all = kept.iter().map(|kept| (kept, true));
        let all: Vec<_> = all.chain(removed.iter().map(|kept| (kept, false))).collect();
        for chunk in all.chunks(MANIFEST_FILES) {
            let mut manifest = self.manifest()?;
            for (kept, stays) in chunk {
                let Kept { entry, snapshot, sequence, file_sequence } = kept;
                let (file, file_sequence) = (entry.data_file().clone(), Some(*file_sequence));
                if *stays {
                    manifest.add_existing_file(file, *snapshot, *sequence, file_sequence)
                } else {
                    manifest.add_delete_file(file, *sequence, file_sequence)
                }
                .map_err(&refused)?;
            }
            self.put(manifest).await?;
        }
        Ok(())
    }

    /// Writes the list of these manifests and of those written here; gives its URL and all of them.
    pub(crate) async fn list(
        mut self,
        kept: Vec<ManifestFile>,
        parent: Option<i64>,
        sequence: i64,
    ) -> Result<(String, Vec<ManifestFile>), PublishError> {
        let refused = self.versions.refused("write the list of manifests");
        let manifests: Vec<ManifestFile> = self.written.drain(..).chain(kept).collect();
        let output = self.output("list").map_err(&refused)?;
        let writer = output.writer().await.map_err(&refused)?;
        let mut list = ManifestListWriter::v2(writer, self.snapshot, parent, sequence);
        list.add_manifests(manifests.iter().cloned()).map_err(&refused)?;
        list.close().await.map_err(&refused)?;
        let name = format!("snap-{}-1-{}.avro", self.snapshot, self.name);
        Ok((self.store("list", &name).await?, manifests))
    }

    fn output(&self, name: &str) -> iceberg::Result<OutputFile> {
        self.memory.new_output(format!("memory:///{name}"))
    }

    fn manifest(&self) -> Result<ManifestWriter, PublishError> {
        let output = self.output("manifest").map_err(self.versions.refused("write a manifest"))?;
        let spec = PartitionSpec::unpartition_spec();
        let builder =
            ManifestWriterBuilder::new(output, Some(self.snapshot), self.schema.clone(), spec);
        Ok(builder.build_v2_data())
    }

    async fn put(&mut self, manifest: ManifestWriter) -> Result<(), PublishError> {
        let written = manifest.write_manifest_file().await;
        let written = written.map_err(self.versions.refused("write a manifest"))?;
        let name = format!("{}-m{}.avro", self.name, self.written.len());
        let manifest_path = self.store("manifest", &name).await?;
        self.written.push(ManifestFile { manifest_path, ..written });
        Ok(())
    }

    /// Puts what was written to memory into the store; gives its URL.
    async fn store(&self, from: &str, name: &str) -> Result<String, PublishError> {
        let refused = self.versions.refused("read back a manifest");
        let input = self.memory.new_input(format!("memory:///{from}")).map_err(&refused)?;
        let bytes = input.read().await.map_err(&refused)?;
        let path = self.versions.path(name);
        self.versions.blobs.put(&path, bytes).await?;
        Ok(self.versions.root.url(&path))
    }
}
