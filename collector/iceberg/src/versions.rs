//! The versions of a table: `metadata/vN.metadata.json`, and `version-hint.text` that names the newest.
//!
//! A version is made by creating its file, which of several committers one can do. The hint is only for
//! readers; what is newest is what is listed.

use fleetprof_store::{Blobs, Listed};
use iceberg::spec::TableMetadata;
use tracing::debug;

use crate::{error::PublishError, place::Root, tables::TableName};

/// The file that names the newest version.
const HINT: &str = "version-hint.text";

/// The newest version of a table.
#[derive(Debug)]
pub(crate) struct Version {
    /// Its number.
    pub(crate) number: u64,
    /// What it says.
    pub(crate) metadata: TableMetadata,
}

/// The files that describe one table.
#[derive(Clone, Debug)]
pub(crate) struct Versions<'a> {
    pub(crate) table: TableName,
    pub(crate) blobs: &'a Blobs,
    pub(crate) root: &'a Root,
}

// === impl Versions ===

impl Versions<'_> {
    /// Below the root of the store, of a file that describes the table.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/metadata/{name}", self.table.folder())
    }

    /// What engines call the table.
    pub(crate) fn location(&self) -> String {
        self.root.url(&self.table.folder())
    }

    fn version_path(&self, number: u64) -> String {
        self.path(&format!("v{number}.metadata.json"))
    }

    /// What engines call a version.
    pub(crate) fn version_url(&self, number: u64) -> String {
        self.root.url(&self.version_path(number))
    }

    /// All files that describe the table, also those that are not used any more.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, PublishError> {
        Ok(self.blobs.list(&format!("{}/metadata", self.table.folder())).await?)
    }

    /// The newest version; `None`: there is no table yet.
    ///
    /// # Errors
    /// When it cannot be read, or is of a store with another name.
    pub(crate) async fn newest(&self) -> Result<Option<Version>, PublishError> {
        let Some(number) = newest(&self.list().await?) else { return Ok(None) };
        let path = self.version_path(number);
        let damaged = |what: String| self.damaged(&path, what);
        let bytes = self.blobs.small(&path).await?;
        let bytes = bytes.ok_or_else(|| damaged("it is gone".to_owned()))?;
        let metadata: TableMetadata =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if metadata.location() != self.location() {
            return Err(PublishError::Elsewhere {
                table: self.table.to_string(),
                found: metadata.location().to_owned(),
                expected: self.location(),
            });
        }
        Ok(Some(Version { number, metadata }))
    }

    /// Makes a version; `false` when somebody else did, so that this one is void.
    pub(crate) async fn create(
        &self,
        number: u64,
        metadata: &TableMetadata,
    ) -> Result<bool, PublishError> {
        let path = self.version_path(number);
        let bytes =
            serde_json::to_vec(metadata).map_err(|error| self.damaged(&path, error.to_string()))?;
        if !self.blobs.create(&path, bytes.into()).await? {
            return Ok(false);
        }
        // One that slept for a long time may create an old version whose file was removed already.
        if newest(&self.list().await?) != Some(number) {
            debug!(table = %self.table, number, "made a version that is not the newest");
            return Ok(false);
        }
        self.hint(number).await?;
        Ok(true)
    }

    /// Makes the hint name this version, if it does not. A committer that was killed, or was late, leaves
    /// an old one.
    pub(crate) async fn hint(&self, number: u64) -> Result<(), PublishError> {
        let (path, text) = (self.path(HINT), number.to_string());
        if self.blobs.small(&path).await?.as_deref() != Some(text.as_bytes()) {
            self.blobs.put(&path, text.into()).await?;
        }
        Ok(())
    }

    /// An error of a file that describes the table.
    pub(crate) fn damaged(&self, path: &str, what: String) -> PublishError {
        PublishError::Damaged { path: path.to_owned(), what, folder: self.table.folder() }
    }

    /// An error of the library.
    pub(crate) fn refused(&self, action: &'static str) -> impl Fn(iceberg::Error) -> PublishError {
        let table = self.table.to_string();
        move |source| PublishError::Iceberg {
            action,
            table: table.clone(),
            source: Box::new(source),
        }
    }
}

/// The number of a version, by the name of its file.
pub(crate) fn number(path: &str) -> Option<u64> {
    let name = path.rsplit('/').next()?;
    let digits = name.strip_prefix('v')?.strip_suffix(".metadata.json")?;
    let number: u64 = digits.parse().ok()?;
    (number > 0 && number.to_string() == digits).then_some(number)
}

fn newest(files: &[Listed]) -> Option<u64> {
    files.iter().filter_map(|file| number(&file.path)).max()
}
