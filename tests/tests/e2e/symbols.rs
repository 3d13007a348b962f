//! Names that come from a build pipeline, for code that ran before.

use std::{fs, path::PathBuf, process::Command};

use fleetprof_tests::{
    agent::Agent,
    cli,
    machine::machine,
    programs::{Burning, Program},
    wait,
};
use serde_json::Value;

use crate::fixture::{Lab, SOON};

const NAME: &str = "pipeline";

/// The functions of the program's service, as they are called now.
fn functions(lab: &Lab) -> Vec<String> {
    let top = cli::json(lab.port(), &["top", &format!("{{comm=\"{NAME}\"}}")]);
    let function = |row: &Value| row["function"].as_str().unwrap_or_default().to_owned();
    cli::rows(&top).iter().map(function).collect()
}

// Check that a program that runs stripped, and whose agent uploads nothing, is listed as wanted and has
// no names; that its build with symbols gives them to what was stored before, also after a restart; and
// what the command says of files that are no better, no programs, or not there.
#[test]
fn a_build_pipeline_names_what_ran_before() {
    let _machine = machine();
    let lab = Lab::new();
    let (whole, stripped) = (lab.path().join("whole"), lab.path().join(NAME));
    fs::copy(Program::C.path(), &whole).expect("copied");
    let mut strip = Command::new("strip");
    let status = strip.arg("--strip-all").arg("-o").arg(&stripped).arg(&whole).status();
    assert!(status.expect("binutils").success());

    let collector = lab.collector();
    let agent = Agent::start(&lab.nameless().at(199));
    let mut burning = Burning::start_file(&stripped, 1, &[]);
    let unnamed = format!("{NAME}+0x");
    wait::until("the program to be seen", SOON, || {
        functions(&lab).iter().any(|name| name.starts_with(&unnamed)).then_some(())
    });
    let report = burning.stop();
    let hot: Vec<String> = report.shares().keys().map(|name| (*name).to_owned()).collect();
    agent.stop();
    let quality = || {
        let symbols = cli::json(lab.port(), &["status", "--symbols"]);
        let of_service = |row: &&Value| row["service"] == NAME;
        cli::rows(&symbols).iter().find(of_service).expect("its service").clone()
    };
    let before = quality();
    assert!(before["unresolved"]["no_object"].as_u64() > Some(0), "{before}");
    let named = |functions: &[String]| hot.iter().any(|name| functions.contains(name));
    assert!(!named(&functions(&lab)));
    let path = stripped.to_string_lossy();
    let wanted = cli::json(lab.port(), &["objects", "--state", "wanted"]);
    assert!(cli::row(&wanted, "path", &path).is_some(), "{path} is not in {wanted}");

    let (whole, missing) = (whole.to_string_lossy(), lab.path().join("missing"));
    let missing = missing.to_string_lossy();
    let upload = |files: &[&str]| cli::run(lab.port(), &[&["objects", "upload"], files].concat());
    let said = upload(&[&whole]).success("objects upload");
    assert!(said.contains(": uploaded, binary of file-gnu-"), "{said}");
    wait::until("names", SOON, || named(&functions(&lab)).then_some(()));
    let after = quality();
    for count in ["named", "with_lines"] {
        assert!(after[count].as_u64() > before[count].as_u64(), "{before} {after}");
    }
    let said = upload(&[&path]).success("objects upload");
    assert!(said.contains("the collector has as much of it"), "{said}");
    let text = lab.path().join("text");
    fs::write(&text, "no program").expect("written");
    let text = text.to_string_lossy();
    let words = ["No such file", "not an ELF file", "2 of 3 files were not uploaded"];
    upload(&[&missing, &text, &whole]).complaint("objects upload", &words);

    let ready = cli::json(lab.port(), &["objects", "--state", "ready"]);
    let object = cli::row(&ready, "path", &whole).expect("it is there");
    let sources = object["sources"].as_array().expect("an array");
    assert!(sources.contains(&Value::from("dwarf")), "{object}");
    collector.stop();
    let _collector = lab.collector();
    assert!(named(&functions(&lab)));
}

/// A stripped program in the lab, and where its debug file is looked for: it is not there yet.
fn stripped(lab: &Lab) -> (PathBuf, PathBuf, PathBuf) {
    let in_lab = |name: &str| lab.path().join(name);
    let (program, debug) = (in_lab(NAME), in_lab("elsewhere").join("pipeline.debug"));
    fs::create_dir(in_lab("elsewhere")).expect("created");
    fs::copy(Program::C.path(), &program).expect("copied");
    let objcopy = |arguments: &[&std::ffi::OsStr]| {
        let status = Command::new("objcopy").args(arguments).status();
        assert!(status.expect("binutils").success(), "{arguments:?}");
    };
    objcopy(&["--only-keep-debug".as_ref(), program.as_os_str(), debug.as_os_str()]);
    let link = format!("--add-gnu-debuglink={}", debug.display());
    objcopy(&["--strip-all".as_ref(), link.as_ref(), program.as_os_str()]);
    let place = in_lab(".debug").join("pipeline.debug");
    fs::create_dir(in_lab(".debug")).expect("created");
    (program, debug, place)
}

/// Waits until the program has lines.
fn until_lines(lab: &Lab) -> Value {
    wait::until("lines", 2 * SOON, || {
        let symbols = cli::json(lab.port(), &["status", "--symbols"]);
        let row = cli::rows(&symbols).iter().find(|row| row["service"] == NAME)?.clone();
        (row["with_lines"].as_u64() > Some(0)).then_some(row)
    })
}

// Check that a stripped program's separate debug file, which only its host has, reaches the collector
// with it: functions and lines.
#[test]
fn debug_files_come_with_their_binaries() {
    let _machine = machine();
    let lab = Lab::new();
    let (program, debug, place) = stripped(&lab);
    fs::rename(debug, place).expect("moved");

    let _collector = lab.collector();
    let agent = Agent::start(&lab.options().at(199));
    let mut burning = Burning::start_file(&program, 1, &[]);
    let lines = until_lines(&lab);
    let report = burning.stop();
    let names = functions(&lab);
    assert!(report.shares().keys().any(|hot| names.iter().any(|name| name == hot)), "{lines}");
    let objects = cli::json(lab.port(), &["objects", "--state", "ready"]);
    let path = program.to_string_lossy();
    assert!(cli::row(&objects, "path", &path).is_some(), "{path} is not in {objects}");
    agent.stop();
}

// Check that a debug file that is installed after its stripped program was uploaded gives old samples
// lines, and that an agent looks for it while the program runs.
#[test]
fn debug_files_that_come_later_are_uploaded() {
    let _machine = machine();
    let lab = Lab::new();
    let (program, debug, place) = stripped(&lab);
    let _collector = lab.collector();
    let agent = Agent::start(&lab.options().at(199).with(&["--look-again", "2s"]));
    let mut burning = Burning::start_file(&program, 1, &[]);
    let path = program.to_string_lossy();
    wait::until("the stripped program is there", 2 * SOON, || {
        let ready = cli::json(lab.port(), &["objects", "--state", "ready"]);
        let object = cli::row(&ready, "path", &path)?.clone();
        let sources = object["sources"].as_array().expect("an array");
        assert!(!sources.contains(&Value::from("dwarf")), "{object}");
        Some(())
    });
    fs::rename(debug, place).expect("installed");
    until_lines(&lab);
    burning.stop();
    agent.stop();
}
