//! Runtimes as people start them.

use std::fs;

use fleetprof_tests::{
    agent::Agent,
    cli,
    grpc::Grpc,
    machine::{self, machine},
};
use serde_json::Value;

use super::{Duration, NAMED, Path, Profile, Running, SOON, perf_map, process, wait};
use crate::fixture::Lab;

/// Functions with names of their own that stay busy; the loops are in none of Node's own files.
const NODE: &str = "
function innermost(n) { let s = 0; for (let i = 0; i < n; i++) s = (s * 31 + i) | 0; return s; }
function middle(n) { return innermost(n) + innermost(n); }
function outermost() { for (;;) globalThis.sink = middle(100000); }
outermost();
";

/// The share of a service's CPU below a function whose name contains a word.
fn below(profile: &Profile, word: &str) -> f64 {
    let with = profile.samples.iter().filter(|sample| sample.calls(word));
    with.map(|sample| sample.nanos).sum::<u64>() as f64 / profile.nanos() as f64
}

// Check Node on its way through agent and collector: names as V8 gives them, in the answers of the collector.
#[test]
fn functions_of_node_have_names_in_the_collector() {
    let _machine = machine();
    let node = machine::tool("node", "run `make setup`, which installs what the tests use");
    let lab = Lab::new();
    let script = lab.path().join("busy.js");
    fs::write(&script, NODE).expect("a script");
    let _collector = lab.collector();
    let agent = Agent::start(&lab.nameless().at(199));
    let mut command = process::command(node);
    command.args(["--perf-basic-prof", "--interpreted-frames-native-stack"]).arg(&script);
    // It leaves logs where it is started.
    command.env("OTEL_SERVICE_NAME", "busy-node").current_dir(lab.path());
    let running = Running::daemon("node", &mut command, &lab.path().join("node.log"));
    let _map = perf_map(running.pid());
    let is_named = |word: &str| {
        let top = cli::run(lab.port(), &["top", "{service=\"busy-node\"}", "-o", "json"]);
        let rows: Value = serde_json::from_slice(&top.stdout).unwrap_or_default();
        let mut rows = rows.as_array().into_iter().flatten();
        rows.any(|row| {
            row["module"] == NAMED && row["function"].as_str().is_some_and(|n| n.contains(word))
        })
    };
    wait::until("names of Node's functions", SOON, || {
        (is_named("innermost") && is_named("middle")).then_some(())
    });
    // From here on V8 has compiled what it will.
    wait::within(Duration::from_secs(4), || None::<()>);
    let metrics = agent.try_metrics().expect("the agent's metrics");
    let functions = metrics.sum("fleetprof_agent_jit_functions");
    assert!(functions > Some(500.0), "{functions:?} functions of Node are known");
    let of_event = |event| {
        metrics.with_label("fleetprof_agent_jit_events_total", "event", event).unwrap_or(f64::NAN)
    };
    assert_eq!(["function_refused", "read_failed"].map(of_event), [0.0; 2]);
    agent.stop();
    let bytes = Grpc::connect(lab.port()).profile(lab.ever("{service=\"busy-node\"}"));
    let profile = Profile::read(&bytes.expect("a profile"));
    let [innermost, middle, outermost] =
        ["innermost", "middle", "outermost"].map(|word| below(&profile, word));
    println!("{innermost:.3} innermost, {middle:.3} middle, {outermost:.3} outermost");
    let path = Path::new("busy.js").display().to_string();
    let names = profile.lines().filter(|line| line.function.contains("innermost"));
    assert!(names.into_iter().all(|line| line.function.contains(&path)), "as V8 gives it");
    assert!(innermost > 0.4 && outermost > 0.4, "{innermost} and {outermost}");
}
