//! What each command asks and prints when all is well, or when there is nothing.

use fleetprof_proto::v1::{Coverage, Query, TopOrder, UnnamedUsage};
use serde_json::json;

use crate::{
    collector::{Answers, Asked, MockCollector},
    fixtures::{self, SECOND, TEN},
    run::{command, fleetprof, ran},
};

const RANGE: [&str; 4] = ["--from", "2026-11-22T10:00:00Z", "--to", "2026-11-22T10:00:20Z"];

fn asked(words: &[&str]) -> Asked {
    let collector = MockCollector::start(fixtures::answers());
    fleetprof(&collector.url(), words).text();
    let mut asked = collector.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked.remove(0)
}

fn query_of(asked: Asked) -> Query {
    let query = match asked {
        Asked::Services(request) => request.query,
        Asked::Labels(request) => request.query,
        Asked::Series(request) => request.query,
        Asked::Profile(request) => request.query,
        Asked::Top(request) => request.query,
        Asked::Status => None,
    };
    query.expect("a query")
}

/// Check that every question carries the range and the selector of the command line.
#[test]
fn questions_carry_range_and_selector() {
    let selector = r#"{service="checkout", host=~"web-.*"}"#;
    for words in [
        &["services", selector][..],
        &["labels", selector],
        &["labels", "host", selector],
        &["top", "checkout", r#"{host=~"web-.*"}"#],
        &["top", selector],
        &["series", selector],
        &["pprof", "checkout", r#"{host=~"web-.*"}"#, "-o", "-"],
    ] {
        let query = query_of(asked(&[words, &RANGE].concat()));
        assert_eq!(query.selector, selector, "{words:?}");
        assert_eq!((query.start_unix_nanos, query.end_unix_nanos), (TEN, TEN + 20 * SECOND));
    }
}

/// Check that the range is the last 15 minutes unless said otherwise.
#[test]
fn the_default_range_is_fifteen_minutes() {
    let query = query_of(asked(&["top"]));
    assert_eq!(query.end_unix_nanos - query.start_unix_nanos, 900 * SECOND);
}

/// Check that the address can come from the environment.
#[test]
fn the_environment_names_the_collector() {
    let collector = MockCollector::start(fixtures::answers());
    let output = command(None, &["status"]).env("FLEETPROF_COLLECTOR", collector.url()).output();
    ran(output.expect("the binary runs")).text();
    assert_eq!(collector.asked(), [Asked::Status]);
}

/// Check the table of services, and that what it was made from stays off standard output.
#[test]
fn services_are_a_table() {
    let collector = MockCollector::start(fixtures::answers());
    let run = fleetprof(&collector.url(), &["services"]);
    assert_eq!(
        run.text(),
        "CORES  SHARE  CPU TIME  SAMPLES  SERVICE\n\
         1.500  75.0%    15.0 s      750  checkout\n\
         0.500  25.0%    5.00 s      250  payment\n"
    );
    assert_eq!(
        run.stderr,
        "1,000 samples in 2 batches, from 2026-11-22T10:00:00Z to 2026-11-22T10:00:10Z; dropped on \
         the hosts since their agents started: 3 (ring_full 3)\n"
    );
}

/// Check that a limit is announced, and that shares stay shares of everything.
#[test]
fn services_can_be_limited() {
    let collector = MockCollector::start(fixtures::answers());
    let run = fleetprof(&collector.url(), &["services", "--limit", "1"]);
    assert!(run.text().ends_with("1.500  75.0%    15.0 s      750  checkout\n"));
    assert!(run.stderr.starts_with("1 of 2 services shown\n"), "{}", run.stderr);
}

/// Check the contract of `services -o json`, and that a script is not talked to.
#[test]
fn services_are_json() {
    let collector = MockCollector::start(fixtures::answers());
    let run = fleetprof(&collector.url(), &["services", "-o", "json"]);
    assert_eq!(
        run.json(),
        json!([
            {"service": "checkout", "samples": 750, "cpu_seconds": 15.0, "cores": 1.5},
            {"service": "payment", "samples": 250, "cpu_seconds": 5.0, "cores": 0.5},
        ])
    );
    assert_eq!(run.stderr, "");
}

/// Check that labels come one per line, and that a name is passed on.
#[test]
fn labels_are_lines() {
    let collector = MockCollector::start(fixtures::answers());
    assert_eq!(fleetprof(&collector.url(), &["labels", "service"]).text(), "checkout\npayment\n");
    let Asked::Labels(request) = collector.next_asked() else { panic!("not labels") };
    assert_eq!(request.name, "service");
    let run = fleetprof(&collector.url(), &["labels", "-o", "json"]);
    assert_eq!(run.json(), json!(["checkout", "payment"]));
}

/// Check the table of functions and its units.
#[test]
fn functions_are_a_table() {
    let collector = MockCollector::start(fixtures::answers());
    let run = fleetprof(&collector.url(), &["top", "checkout"]);
    assert_eq!(
        run.text(),
        "CORES    SELF  SELF%   TOTAL  TOTAL%  FUNCTION  MODULE    FILE\n\
         1.200  12.0 s  60.0%  15.0 s   75.0%  parse<T>  checkout  /src/parse.rs\n\
         0.000     0 s   0.0%  20.0 s  100.0%  main      checkout  /src/main.rs\n"
    );
    assert!(run.stderr.starts_with("1,000 samples in 2 batches"), "{}", run.stderr);
}

/// Check the contract of `top -o json`.
#[test]
fn functions_are_json() {
    let collector = MockCollector::start(fixtures::answers());
    let run = fleetprof(&collector.url(), &["top", "-o", "json"]);
    assert_eq!(
        run.json()[0],
        json!({
            "function": "parse<T>",
            "file": "/src/parse.rs",
            "module": "/usr/bin/checkout",
            "self": 12_000_000_000_u64,
            "total": 15_000_000_000_u64,
        })
    );
}

/// Check that code without names is summed up, with reasons in words, known or not.
#[test]
fn what_has_no_name_is_summed_up() {
    let mut answers = fixtures::answers();
    let unnamed = |reason: &str, seconds: u64| UnnamedUsage {
        reason: reason.to_owned(),
        self_nanos: seconds * 1_000_000_000,
    };
    answers.top.unnamed = vec![unnamed("not_ready", 3), unnamed("of_the_future", 1)];
    let collector = MockCollector::start(answers);
    let note = "20.0% of the CPU is in code without a name: 15.0% its symbol table is still being made, \
                5.0% of_the_future (fleetprof objects says more)\n";
    let run = fleetprof(&collector.url(), &["top", "checkout"]);
    assert!(run.stderr.starts_with(note), "{}", run.stderr);
    let run = fleetprof(&collector.url(), &["top", "checkout", "-o", "json"]);
    assert!(!run.stderr.contains("without a name"), "{}", run.stderr);
}

/// Check that order and number of rows are asked for, and that a cut list says so.
#[test]
fn top_asks_for_one_row_more_than_it_shows() {
    let collector = MockCollector::start(fixtures::answers());
    let run = fleetprof(&collector.url(), &["top", "--sort", "total", "--limit", "1"]);
    assert_eq!(run.text().lines().count(), 2);
    assert!(run.stderr.starts_with("the first 1 functions; --limit 0 shows all\n"));
    let Asked::Top(request) = collector.next_asked() else { panic!("not top") };
    assert_eq!((request.limit, request.order()), (2, TopOrder::Total));
    fleetprof(&collector.url(), &["top", "-o", "json"]).text();
    let Asked::Top(request) = collector.next_asked() else { panic!("not top") };
    assert_eq!((request.limit, request.order()), (0, TopOrder::Self_));
}

/// Check that a grouped series is one line with one curve each, the largest first.
#[test]
fn grouped_series_are_curves() {
    let collector = MockCollector::start(fixtures::answers());
    let words = [&["series", "--by", "host", "--step", "10s"], &RANGE[..]].concat();
    let run = fleetprof(&collector.url(), &words);
    assert_eq!(
        run.text(),
        "HOST   CORES   PEAK  CPU TIME  SAMPLES  CORES OVER TIME\n\
         web-2  1.500  2.000    30.0 s    1,500  ▅█\n\
         web-1  0.500  0.500    10.0 s      500  ▃▃\n"
    );
    assert!(run.stderr.starts_with("one step is 10.0 s\n"), "{}", run.stderr);
    let Asked::Series(request) = collector.next_asked() else { panic!("not series") };
    assert_eq!((request.group_by, request.step_nanos), (vec!["host".to_owned()], 10 * SECOND));
}

/// Check that one series is one line per step.
#[test]
fn one_series_is_a_table_of_steps() {
    let mut answers = fixtures::answers();
    answers.series.series.truncate(1);
    let collector = MockCollector::start(answers);
    let run = fleetprof(&collector.url(), &[&["series"], &RANGE[..]].concat());
    assert_eq!(
        run.text(),
        "TIME                  CORES  CPU TIME  SAMPLES\n\
         2026-11-22T10:00:00Z  0.500    5.00 s      250  █\n\
         2026-11-22T10:00:10Z  0.500    5.00 s      250  █\n"
    );
}

/// Check that a function is asked for by its name, and shown with its time in itself.
#[test]
fn a_function_has_a_series() {
    let mut answers = fixtures::answers();
    answers.series.series.truncate(1);
    let collector = MockCollector::start(answers);
    let words = [&["series", "checkout", "--function", "a::b<c>"], &RANGE[..]].concat();
    let run = fleetprof(&collector.url(), &words);
    assert_eq!(
        run.text(),
        "TIME                  CORES     SELF   TOTAL  SAMPLES\n\
         2026-11-22T10:00:00Z  0.500   2.50 s  5.00 s      250  █\n\
         2026-11-22T10:00:10Z  0.500   2.50 s  5.00 s      250  █\n"
    );
    let Asked::Series(request) = collector.next_asked() else { panic!("not series") };
    assert_eq!(request.function, "a::b<c>");
}

/// Check that the JSON of a series names its labels and has every point.
#[test]
fn series_are_json() {
    let collector = MockCollector::start(fixtures::answers());
    let words = [&["series", "--by", "host", "-o", "json"], &RANGE[..]].concat();
    let series = fleetprof(&collector.url(), &words).json();
    assert_eq!(series[0]["labels"], json!({"host": "web-2"}));
    assert_eq!(
        series[0]["points"][1],
        json!({"time": "2026-11-22T10:00:10Z", "cpu_seconds": 20.0, "cores": 2.0, "samples": 1000})
    );
}

/// Check that the state of the system is readable and that losses are in sight.
#[test]
fn status_shows_agents_and_losses() {
    let collector = MockCollector::start(fixtures::answers());
    let text = fleetprof(&collector.url(), &["status"]).text();
    for line in [
        "Objects    4 stored, 1.0 MiB, 2 waiting for their symbol table, 1 unusable; 1 wanted from agents\n",
        "Agents     1 connected, 1 seen\n",
        "web-1: dropped 3 (ring_full 3)\n",
        "web-1: stacks complete 99.0%, truncated 1.0%\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains(&format!("Collector  {}, version 0.1.0", collector.url())), "{text}");
    let agent = text.lines().find(|line| line.starts_with("web-1  connected")).expect("the agent");
    assert!(
        agent.ends_with(
            "1,010      1,000        3        7   1,000            -  0.1.0    00112233"
        ),
        "{agent}"
    );
    let json = fleetprof(&collector.url(), &["status", "-o", "json"]).json();
    assert_eq!(json["agents"][0]["dropped"], json!({"ring_full": 3}));
    assert_eq!(json["store"]["first"], "2026-11-22T10:00:00Z");
}

/// Check that of an agent that is gone it is shown what nobody accounts for, instead of what was on its
/// way when it went, and what its successor lost of it.
#[test]
fn status_shows_what_is_missing_of_an_agent_that_is_gone() {
    let mut answers = fixtures::answers();
    let agent = &mut answers.status.agents[0];
    agent.connected = false;
    agent.unaccounted_samples = Some(12);
    let accounting = agent.accounting.as_mut().expect("an accounting");
    accounting.recovered_dropped = vec![fixtures::counter("spool_full", 5)];
    let collector = MockCollector::start(answers);
    let text = fleetprof(&collector.url(), &["status"]).text();
    let agent = text.lines().find(|line| line.starts_with("web-1  gone")).expect("the agent");
    assert!(
        agent.ends_with(
            "1,010      1,000        3        -   1,000           12  0.1.0    00112233"
        ),
        "{agent}"
    );
    assert!(
        text.contains("web-1: dropped of an earlier start's spool 5 (spool_full 5)\n"),
        "{text}"
    );
}

/// Check that an empty collector says how to fill it.
#[test]
fn status_of_an_empty_collector_says_what_to_do() {
    let collector = MockCollector::start(fixtures::nothing());
    let run = fleetprof(&collector.url(), &["status"]);
    assert!(run.text().contains("Store      0 samples in 0 batches, 0 B\n"));
    assert!(run.stderr.contains("fleetprof-agent run --collector http://127.0.0.1"));
}

/// Check that nothing in range is an empty answer and a hint, not a failure.
#[test]
fn nothing_in_range_is_an_empty_answer() {
    let collector = MockCollector::start(fixtures::nothing());
    for command in ["services", "labels", "top", "series"] {
        let run = fleetprof(&collector.url(), &[command, "-o", "json"]);
        assert_eq!(run.text(), "[]\n", "{command}");
        assert!(run.stderr.starts_with("no samples are there from "), "{command}: {}", run.stderr);
        let run = fleetprof(&collector.url(), &[command]);
        let lines = run.text().lines().count();
        assert_eq!(lines, usize::from(command != "labels"), "{command} prints its header");
        assert!(run.stderr.contains("fleetprof status"), "{command}: {}", run.stderr);
    }
}

/// Check that a pipe gets whole names unless a width is asked for.
#[test]
fn the_width_can_be_asked_for() {
    let mut answers = fixtures::answers();
    answers.top.functions[0].function = "f".repeat(200);
    let collector = MockCollector::start(answers);
    let widest = |words: &[&str]| {
        let text = fleetprof(&collector.url(), words).text();
        text.lines().map(|line| line.chars().count()).max()
    };
    assert!(widest(&["top"]) > Some(200));
    assert_eq!(widest(&["top", "--width", "100"]), Some(100));
}

/// Check that a damaged store is announced, to scripts too.
#[test]
fn damage_is_announced() {
    let mut answers = fixtures::answers();
    answers.services.coverage =
        Some(Coverage { damaged: vec!["segment 7".to_owned()], ..fixtures::coverage() });
    let collector = MockCollector::start(answers);
    let run = fleetprof(&collector.url(), &["services", "-o", "json"]);
    assert_eq!(run.json().as_array().map(Vec::len), Some(2));
    assert_eq!(run.stderr, "warning: the answer is incomplete, not readable: segment 7\n");
}

/// Check that a list far above gRPC's usual 4 MiB arrives.
#[test]
fn long_lists_arrive() {
    let mut answers = Answers { ..fixtures::answers() };
    let name = "f".repeat(1_000);
    answers.top.functions =
        (0..6_000).map(|index| fixtures::function(&name, "", "", index, index)).collect();
    let collector = MockCollector::start(answers);
    let run = fleetprof(&collector.url(), &["top", "-o", "json"]);
    assert_eq!(run.json().as_array().map(Vec::len), Some(6_000));
}

/// Check that a completion script is printed without any collector.
#[test]
fn completions_need_no_collector() {
    for shell in ["bash", "zsh", "fish"] {
        let output = command(None, &["completions", shell]).output().expect("the binary runs");
        assert!(ran(output).text().contains("fleetprof"), "{shell}");
    }
}
