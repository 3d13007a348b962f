//! Several collectors, the servers they share, and many agents at once.

mod balanced;
mod books;
mod crash;
mod servers;
mod stack;
mod symbols;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use fleetprof_tests::sim::{Frames, Library, read_captures, record_compiler};

/// What simulated agents replay: recorded once for all tests, while the machine is theirs.
fn library() -> Arc<Library> {
    static LIBRARY: OnceLock<Arc<Library>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let capture = dir.path().join("capture.pb.gz");
        record_compiler(Duration::from_secs(4), &capture);
        let captures = read_captures(&[capture]).expect("stacks");
        Arc::new(Library::new(&captures, Frames::Addresses))
    });
    Arc::clone(library)
}
