//! Every committed input once, without libFuzzer: what was mended stays mended.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use fleetprof_fuzz::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The files of a folder; none when it is not there.
fn inputs(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[test]
fn every_input_is_survived() -> Result<()> {
    for target in TARGETS {
        let corpus = inputs(&folder("corpus").join(target.name))?;
        assert!(!corpus.is_empty(), "{} has nothing to begin with", target.name);
        for path in corpus.into_iter().chain(inputs(&folder("regressions").join(target.name))?) {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            // A longer one would be cut by libFuzzer, and be another.
            assert!(bytes.len() <= target.max_bytes, "{} is too long", path.display());
            // Printed only when the target fails.
            println!("{}", path.display());
            (target.run)(&bytes);
        }
    }
    Ok(())
}

#[test]
fn every_folder_belongs_to_a_target() -> Result<()> {
    for path in inputs(&folder("corpus"))?.into_iter().chain(inputs(&folder("regressions"))?) {
        let name = path.file_name().unwrap_or_default();
        assert!(TARGETS.iter().any(|target| name == target.name), "{}", path.display());
    }
    Ok(())
}
