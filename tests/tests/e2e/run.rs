//! The main job: agent → collector → command line, HTTP and gRPC.

use std::{fs, time::Duration};

use fleetprof_tests::{
    agent::Agent,
    cli, gotool,
    grpc::Grpc,
    http,
    machine::machine,
    pprof::Profile,
    programs::{Burning, Program, Report},
    shares, wait,
};
use serde_json::Value;

use crate::fixture::{Books, Lab};

mod perf;
mod script;

/// Shorter than the turns that the scheduler gives: also on a machine that others use, a thread's samples are its CPU time.
const FREQUENCY: u32 = 997;
const SERVICE: &str = "checkout";
/// All programs of the test, whatever else runs on the machine.
const PROGRAMS: &str = "{comm=~\"split-.*|dlopen|storm\"}";
/// CPU time that each program burns at least.
const CPU: Duration = Duration::from_secs(6);

/// What ran, as (service, comm, report).
type Ran = Vec<(&'static str, &'static str, Report)>;

/// Runs programs two at a time, each for its whole life, so that its own total is the truth.
fn burn(programs: &[(Program, &'static str)]) -> Ran {
    let mut ran = Vec::new();
    for pair in programs.chunks(2) {
        let start = |(program, service): &(Program, &'static str)| {
            let named = [("OTEL_SERVICE_NAME", *service)];
            let env = if *service == program.name() { &[][..] } else { &named[..] };
            Burning::start_file(&program.path(), 1, env)
        };
        let mut burning: Vec<_> = pair.iter().map(start).collect();
        let enough = |burning: &Burning| {
            fleetprof_tests::cpu::process_ns(burning.pid())
                .is_some_and(|ns| u128::from(ns) >= CPU.as_nanos())
        };
        // The storm's CPU is its children's: its partner's decides.
        let storm = Program::Storm.name();
        wait::until("enough CPU time", CPU * 20, || {
            burning.iter().all(|it| it.name() == storm || enough(it)).then_some(())
        });
        let reports = burning.iter_mut().map(Burning::stop);
        let reports: Vec<_> = reports.collect();
        ran.extend(
            pair.iter()
                .zip(reports)
                .map(|((program, service), report)| (*service, program.name(), report)),
        );
    }
    ran
}

/// Waits until the symbols of these functions have reached the collector.
fn wait_for_names(lab: &Lab, functions: &[(&str, &str)]) {
    for (service, function) in functions {
        let what = format!("{function} of {service} to have its name");
        wait::until(&what, Duration::from_secs(120), || {
            let top = cli::json(lab.port(), &["top", service]);
            let named =
                |row: &Value| row["function"].as_str().is_some_and(|name| name.contains(function));
            cli::rows(&top).iter().any(named).then_some(())
        });
    }
}

// Check the whole way: every program, every question.
#[test]
fn services_and_functions_have_the_cpu_they_measured() {
    let _machine = machine();
    let lab = Lab::new();
    let mut collector = lab.collector();
    // Whatever else this machine runs is uploaded, too: the programs should not wait long for their turn.
    let options = lab.options().at(FREQUENCY).with(&["--upload-rate", "512MiB"]);
    let agent = Agent::start(&options);
    let mut ran = burn(&[
        (Program::C, SERVICE),
        (Program::Cpp, Program::Cpp.name()),
        (Program::Rust, Program::Rust.name()),
        (Program::Go, Program::Go.name()),
        (Program::Dlopen, Program::Dlopen.name()),
        (Program::Storm, Program::Storm.name()),
    ]);
    wait_for_names(
        &lab,
        &[
            (SERVICE, "alpha_hash"),
            (Program::Cpp.name(), "fleet::Codec<int>::encode"),
            (Program::Rust.name(), "split::hash_rounds"),
            (Program::Go.name(), "main.alphaHash"),
            (Program::Dlopen.name(), "plugin_work"),
            (Program::Storm.name(), "storm_child_work"),
        ],
    );
    agent.stop();
    let books = lab.books(PROGRAMS);
    assert_eq!(books.check_complete(), 0, "samples were dropped on an unhurried machine");
    assert_eq!(books.agents().len(), 1);
    let storm = ran.pop().expect("the storm ran last");
    check_shares(&books, &ran);
    check_storm(&books, &storm.2);
    check_services(&lab, &books, &ran);
    check_top(&lab, &ran[0].2);
    check_selectors(&lab, &books);
    check_downloads(&lab, &ran[0].2);
    check_protocols(&lab);
    collector.check_unharmed();
    collector.stop();
}

fn check_shares(books: &Books, ran: &Ran) {
    for (service, comm, report) in ran {
        println!("{service}");
        let samples = shares::of(&books.profile, comm);
        shares::check(&samples, report);
        let seconds = report.process_ns.expect("the process is still there") as f64 / 1e9;
        shares::check_total(shares::count(&samples), FREQUENCY, seconds);
        for sample in samples {
            assert_eq!(sample.labels["service"], *service);
        }
    }
}

/// Short-lived processes: what they measured must be there, under their name.
fn check_storm(books: &Books, report: &Report) {
    let samples = shares::of(&books.profile, Program::Storm.name());
    let work: u64 =
        samples.iter().filter(|sample| sample.calls("storm_child_work")).map(|s| s.count).sum();
    let measured: u64 = report.threads.iter().flat_map(|thread| thread.parts.values()).sum();
    let expected = f64::from(FREQUENCY) * measured as f64 / 1e9;
    println!(
        "storm: {work} samples named, {expected:.0} expected, {} in all",
        shares::count(&samples)
    );
    assert!(
        work as f64 > 0.9 * expected,
        "{work} samples of {expected:.0} have the child's function"
    );
}

fn check_services(lab: &Lab, books: &Books, ran: &Ran) {
    let services = cli::json(lab.port(), &["services"]);
    let samples: u64 = cli::rows(&services).iter().filter_map(|row| row["samples"].as_u64()).sum();
    assert_eq!(samples, books.samples(), "the services are everything");
    let mut cores = f64::INFINITY;
    for row in cli::rows(&services) {
        let own = row["cores"].as_f64().expect("a number of cores");
        assert!(own <= cores, "services are not ordered by their CPU: {services}");
        cores = own;
    }
    for (service, _, report) in ran {
        let row = cli::row(&services, "service", service)
            .unwrap_or_else(|| panic!("no {service} in {services}"));
        let own = report.process_ns.expect("the process is still there") as f64 / 1e9;
        let seconds = row["cpu_seconds"].as_f64().expect("CPU seconds");
        assert!(
            (seconds / own - 1.0).abs() <= shares::TOTAL,
            "{service}: {seconds} s, measured {own} s"
        );
        let series = cli::json(lab.port(), &["series", service]);
        let points = cli::rows(&series)
            .iter()
            .flat_map(|series| series["points"].as_array().into_iter().flatten());
        let sum: f64 = points.filter_map(|point| point["cpu_seconds"].as_f64()).sum();
        assert!(
            (sum - seconds).abs() < 1e-3,
            "{service}: a series of {sum} s, services say {seconds} s"
        );
    }
}

fn check_top(lab: &Lab, report: &Report) {
    let top = cli::json(lab.port(), &["top", SERVICE]);
    let own: u64 = cli::rows(&top).iter().filter_map(|row| row["self"].as_u64()).sum();
    for (function, expected) in report.shares() {
        let row = cli::row(&top, "function", function)
            .unwrap_or_else(|| panic!("no {function} in {top}"));
        let total = row["total"].as_u64().expect("a total") as f64;
        let share = total / own as f64;
        assert!(
            (share - expected).abs() <= shares::POINTS,
            "{function}: {share}, measured {expected}"
        );
        assert!(row["file"].as_str().is_some_and(|file| file.ends_with("split.c")), "{row}");
        assert!(row["module"].as_str().is_some_and(|module| module.ends_with("split-c")), "{row}");
    }
    let table = cli::run(lab.port(), &["top", SERVICE, "--limit", "12", "--sort", "total"])
        .success("fleetprof top");
    assert!(table.contains("beta_walk"), "{table}");
}

fn check_selectors(lab: &Lab, books: &Books) {
    let count = |selector: &str| -> u64 {
        let services = cli::json(lab.port(), &["services", selector]);
        cli::rows(&services).iter().filter_map(|row| row["samples"].as_u64()).sum()
    };
    let of = |service: &str| {
        books.profile.with_label("service", service).iter().map(|s| s.count).sum::<u64>()
    };
    // The same threads as in the profile: until a program has begun, it has its parent's name.
    let threads = PROGRAMS.trim_matches(['{', '}']);
    let selected = |matcher: &str| count(&format!("{{{matcher}, {threads}}}"));
    assert_eq!(selected("service=\"checkout\""), of(SERVICE));
    assert_eq!(selected("service=~\"split-(rust|go)\""), of("split-rust") + of("split-go"));
    let checkout = count("{service=\"checkout\"}");
    assert_eq!(count("{service!=\"checkout\"}"), books.samples() - checkout);
    let others = count("{service=\"checkout\", comm!~\"split-.*\"}");
    assert_eq!(others, checkout - of(SERVICE));
    let names = cli::json(lab.port(), &["labels"]);
    for name in ["service", "host", "comm"] {
        assert!(cli::rows(&names).iter().any(|it| it == name), "no label {name} in {names}");
    }
    let services = cli::json(lab.port(), &["labels", "service"]);
    assert!(cli::rows(&services).iter().any(|it| it == SERVICE), "{services}");
}

fn check_downloads(lab: &Lab, report: &Report) {
    let file = lab.path().join("checkout.pb.gz");
    let name = file.to_string_lossy().into_owned();
    cli::run(lab.port(), &["pprof", SERVICE, "-o", &name]).success("fleetprof pprof");
    let profile = Profile::read(&fs::read(&file).expect("the profile was written"));
    shares::check(&profile.samples.iter().collect::<Vec<_>>(), report);
    assert_eq!(profile.sample_types(), [("samples", "count"), ("cpu", "nanoseconds")]);
    let raw = gotool::raw(&file);
    assert_eq!(raw.totals[0], i64::try_from(profile.count()).expect("fits"));
    assert!(raw.build_ids.len() > 1, "too few build IDs:\n{}", raw.text);
    let answer =
        http::get(lab.port(), &format!("/pprof/{SERVICE}?from=-15m&to=now")).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(Profile::read(&answer.body).count(), profile.count());
    // As typed from the documentation.
    let top = gotool::top(&format!("http://127.0.0.1:{}/pprof/{SERVICE}", lab.port()));
    assert!(top.iter().any(|row| row.function == "alpha_hash"), "{top:?}");
    let label = http::get(lab.port(), &format!("/pprof/{SERVICE}?from=-15m&to=now&comm=nobody"));
    assert_eq!(label.expect("an answer").status, 404, "no sample has that label");
}

fn check_protocols(lab: &Lab) {
    let grpc = Grpc::connect(lab.port());
    let services = grpc.reflected_services();
    for name in ["IngestService", "ObjectService", "QueryService"] {
        let name = format!("fleetprof.v1.{name}");
        assert!(services.contains(&name), "{name} is not reflected: {services:?}");
    }
    assert_eq!(grpc.health(), 1, "gRPC health says that it is not serving");
    let status = cli::json(lab.port(), &["status"]);
    assert!(status["agents"].as_array().is_some_and(|agents| agents.len() == 1), "{status}");
}
