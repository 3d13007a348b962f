//! A small file system of its own, to be filled up.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted tmpfs, unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    /// Mounts one of `bytes` at `path`, which is made.
    ///
    /// # Panics
    /// When that fails.
    pub fn mount(path: &Path, bytes: u64) -> Self {
        fs::create_dir_all(path).expect("a mount point");
        let options = format!("size={bytes},mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path);
        let status = mount.status().expect("mount is on every Debian");
        assert!(status.success(), "cannot mount a tmpfs on {}", path.display());
        Self { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills what is free with a file; gives the file's path.
    ///
    /// # Panics
    /// When writing fails for another reason than a full disk.
    pub fn fill(&self) -> PathBuf {
        let path = self.path.join("filler");
        let mut file = fs::File::create(&path).expect("a file to fill the disk with");
        // Smaller and smaller pieces: the last page, too.
        for size in [1 << 16, 1 << 12, 1 << 8] {
            let piece = vec![0xaa; size];
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => panic!("filling {} failed: {error}", path.display()),
                }
            }
        }
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazy: a process that is about to be killed may still have a file open.
        let status = Command::new("umount").arg("-l").arg(&self.path).status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            eprintln!("cannot unmount {}: {status:?}", self.path.display());
        }
    }
}
