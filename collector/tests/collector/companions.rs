//! Files that a binary's debug information is spread over: what dwz moved, and split units.

use std::{fs, path::Path, process::Command, time::Duration};

use fleetprof_proto::{
    ids::{ObjectId, ObjectKind},
    v1::{ObjectFormat, ObjectInfo, ObjectState, UploadHeader, UploadResponse},
};
use fleetprof_symbolizer::identity;
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::{
    objects::{header, list, program, unnamed, upload},
    support::Running,
};

fn tool(dir: &Path, name: &str, args: &[&str]) {
    let status = Command::new(name).args(args).current_dir(dir).status();
    assert!(status.expect("installed").success(), "{name} {args:?}");
}

/// What is known of an object once its table is made.
async fn settled(collector: &Running, id: &ObjectId) -> ObjectInfo {
    let settled = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let objects = list(collector).await;
            let info = objects.into_iter().find(|info| info.id == Some(id.into()));
            if let Some(info) = info.filter(|info| info.state() != ObjectState::Waiting) {
                return info;
            }
            tokio::task::yield_now().await;
        }
    });
    settled.await.expect("converted")
}

fn has(info: &ObjectInfo, source: &str) -> bool {
    info.sources.iter().any(|it| it == source)
}

fn id_of(path: &Path) -> ObjectId {
    let identity = identity::identify_path(path).expect("an object");
    ObjectId { kind: ObjectKind::File, build_id: identity.build_id().clone() }
}

/// Check that a file that dwz made is taken as what it is, whether it comes before or after those that
/// need it, and that a table made without it is made again.
#[tokio::test(flavor = "multi_thread")]
async fn a_dwz_file_completes_what_needs_it() {
    let work = TempDir::new().expect("dir");
    let program = program(work.path());
    tool(work.path(), "cc", &["-g", "-O2", "-Wl,--build-id", "hot.c", "-o", "other"]);
    tool(work.path(), "dwz", &["-m", "shared", "hot", "other"]);
    let send = async |collector: &Running, name: &str| -> UploadResponse {
        let bytes = fs::read(work.path().join(name)).expect("read");
        upload(&collector.url(), unnamed(bytes.len()), &bytes).await.expect("kept")
    };
    let (other, shared) = (id_of(&work.path().join("other")), id_of(&work.path().join("shared")));
    let collector = Running::start().await;
    send(&collector, "hot").await;
    assert!(has(&settled(&collector, &program.id).await, "incomplete"));
    let collector = Running::start_with(collector.stop().await, |_| {}).await;
    let answer = send(&collector, "shared").await;
    assert_eq!(
        (answer.id.clone(), answer.format()),
        (Some((&shared).into()), ObjectFormat::ElfDebug)
    );
    let info = settled(&collector, &program.id).await;
    assert!(has(&info, "shared") && !has(&info, "incomplete"), "{info:?}");
    assert_eq!(settled(&collector, &shared).await.state(), ObjectState::Ready);
    send(&collector, "other").await;
    let info = settled(&collector, &other).await;
    assert!(has(&info, "shared") && !has(&info, "incomplete"), "{info:?}");
    assert!(send(&collector, "shared").await.duplicate);
}

/// Check that split units reach the object whose id they come with, that those of another build neither
/// harm nor stay, and what is no such file.
#[tokio::test(flavor = "multi_thread")]
async fn split_units_complete_their_binary() {
    let work = TempDir::new().expect("dir");
    let flags = ["-g", "-gdwarf-4", "-gsplit-dwarf", "-O1", "-Wl,--build-id"];
    for (name, define) in [("app", "-DN=1"), ("another", "-DN=2")] {
        let source = "int f(int n) { return n * N; } int main(int c, char **v) { return f(c); }";
        fs::write(work.path().join("app.c"), source).expect("written");
        tool(work.path(), "cc", &[&flags[..], &[define, "app.c", "-o", name]].concat());
        tool(work.path(), "dwp", &["-e", name]);
    }
    let read = |name: &str| fs::read(work.path().join(name)).expect("read");
    let (app, id) = (read("app"), id_of(&work.path().join("app")));
    let collector = Running::start().await;
    let send = async |header: UploadHeader, bytes: &[u8]| -> Result<UploadResponse, Status> {
        upload(&collector.url(), header, bytes).await
    };
    let units = |bytes: &[u8]| header(&id, ObjectFormat::ElfSplit, bytes.len());
    send(unnamed(app.len()), &app).await.expect("kept");
    let info = settled(&collector, &id).await;
    assert!(has(&info, "dwarf") && has(&info, "incomplete") && !has(&info, "split"), "{info:?}");

    let another = read("another.dwp");
    assert!(!send(units(&another), &another).await.expect("kept").duplicate);
    let info = settled(&collector, &id).await;
    assert!(has(&info, "dwarf") && has(&info, "incomplete") && !has(&info, "split"), "{info:?}");
    let right = read("app.dwp");
    assert!(!send(units(&right), &right).await.expect("kept").duplicate, "no unit of it was right");
    let info = settled(&collector, &id).await;
    assert!(has(&info, "split") && !has(&info, "incomplete"), "{info:?}");
    assert_eq!(info.bytes as usize, app.len() + right.len());
    assert!(send(units(&another), &another).await.expect("answered").duplicate);

    for (header, bytes, why) in [
        (unnamed(right.len()), &right, "must be sent together with its binary"),
        (units(&app), &app, "no .dwp file"),
    ] {
        let other = TempDir::new().expect("dir");
        let empty = Running::start_with(other, |_| {}).await;
        let status = upload(&empty.url(), header, bytes).await.expect_err("refused");
        assert!(
            status.code() == Code::InvalidArgument && status.message().contains(why),
            "{status}"
        );
    }
}
