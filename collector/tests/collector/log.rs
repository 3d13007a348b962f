//! What the collector's processes write to its log.

use std::{fs, path::Path};

use fleetprof_proto::{
    ids::InstanceId,
    v1::{ObjectFormat, TopRequest, query_service_client::QueryServiceClient},
};
use tempfile::TempDir;

use crate::{
    crash::Process,
    objects,
    support::{Agent, all},
};

/// Every file below a folder.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).expect("listed").map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a collector logs whose only object is damaged after it was verified, when it is needed.
async fn log_about_a_damaged_object(arguments: &[&str]) -> Vec<String> {
    let work = TempDir::new().expect("dir");
    let data = work.path().join("data");
    let program = objects::program(work.path());
    let process = Process::start_with(&data, arguments);
    let mut agent = Agent::connect(&process.url, InstanceId::random()).await.expect("connects");
    agent.deliver(program.batch(agent.instance)).await;
    let header = objects::header(&program.id, ObjectFormat::Elf, program.bytes.len());
    objects::upload(&process.url, header, &program.bytes).await.expect("kept");
    for file in files(&data.join("objects")) {
        fs::write(file, "no object").expect("written");
    }
    let mut queries = QueryServiceClient::connect(process.url.clone()).await.expect("connects");
    let request = TopRequest { query: all(""), ..Default::default() };
    let answer = queries.top(request).await.expect("answered").into_inner();
    assert!(answer.functions[0].function.contains("+0x"), "{answer:?}");
    let (code, log) = process.terminate();
    assert_eq!(code, Some(0));
    log
}

/// Check that what a worker process has to say is in the collector's log, in its format and as far as
/// its level allows.
#[tokio::test(flavor = "multi_thread")]
async fn workers_log_as_the_collector_does() {
    let by_worker = |line: &&String| line.contains("\"target\":\"fleetprof_symbolizer::elf\"");
    let log = log_about_a_damaged_object(&[]).await;
    let said: Vec<_> = log.iter().filter(by_worker).collect();
    assert_eq!(said.len(), 1, "{log:#?}");
    assert!(said[0].starts_with('{') && said[0].contains("\"level\":\"WARN\""), "{said:?}");
    assert!(said[0].contains("object refused"), "{said:?}");

    let log = log_about_a_damaged_object(&["--log", "info,fleetprof_symbolizer=error"]).await;
    assert_eq!(log.iter().find(by_worker), None, "{log:#?}");
}
