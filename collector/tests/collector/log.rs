//! What the collector's processes write to its log.

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

/// What a collector logs that converts an object.
async fn log_about_a_conversion(arguments: &[&str]) -> Vec<String> {
    let work = TempDir::new().expect("dir");
    let program = objects::program(work.path());
    let process = Process::start_with(&work.path().join("data"), arguments);
    let mut agent = Agent::connect(&process.url, InstanceId::random()).await.expect("connects");
    agent.deliver(program.batch(agent.instance)).await;
    let header = objects::header(&program.id, ObjectFormat::Elf, program.bytes.len());
    objects::upload(&process.url, header, &program.bytes).await.expect("kept");
    let mut queries = QueryServiceClient::connect(process.url.clone()).await.expect("connects");
    let request = TopRequest { query: all(""), ..Default::default() };
    let answer = queries.top(request).await.expect("answered").into_inner();
    assert_eq!(answer.functions[0].function, "hot_loop");
    let (code, log) = process.terminate();
    assert_eq!(code, Some(0));
    log
}

/// Check that what a worker process has to say is in the collector's log, in its format and as far as
/// its level allows.
#[tokio::test(flavor = "multi_thread")]
async fn workers_log_as_the_collector_does() {
    let by_worker =
        |line: &&String| line.contains("\"target\":\"fleetprof_symbolizer::conversion\"");
    let log = log_about_a_conversion(&["--log", "info,fleetprof_symbolizer=debug"]).await;
    let said: Vec<_> = log.iter().filter(by_worker).collect();
    assert_eq!(said.len(), 1, "{log:#?}");
    assert!(said[0].starts_with('{') && said[0].contains("\"level\":\"DEBUG\""), "{said:?}");
    assert!(said[0].contains("object converted"), "{said:?}");

    let log = log_about_a_conversion(&[]).await;
    assert_eq!(log.iter().find(by_worker), None, "{log:#?}");
}
