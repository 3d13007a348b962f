//! Small files that are either whole and durable, or absent.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// Writes a small file.
///
/// # Errors
/// As the system says; the file is as it was then.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        // Without space there may not be room for a whole one; a part must not stay.
        let _ = fs::remove_file(&temporary);
    })?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
