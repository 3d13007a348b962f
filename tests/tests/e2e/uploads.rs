//! What a build pipeline sends beside its binaries.

use std::{fs, path::Path, process::Command};

use fleetprof_tests::{cli, machine::machine, wait};
use serde_json::Value;

use crate::fixture::{Lab, SOON};

fn tool(dir: &Path, name: &str, args: &[&str]) {
    let status = Command::new(name).args(args).current_dir(dir).status();
    assert!(status.expect("installed").success(), "{name} {args:?}");
}

// Check that a binary is followed by the split units beside it and completed by what dwz moved out of it,
// and what the command says of split units whose binary is not there.
#[test]
fn companions_of_a_binary_are_uploaded() {
    let _machine = machine();
    let lab = Lab::new();
    let source = "struct s { int a; }; int main(void) { return 0; }\n";
    fs::write(lab.path().join("a.c"), source).expect("written");
    for (name, flags) in [("app", "-gsplit-dwarf"), ("left", "-O1"), ("right", "-O2")] {
        let args = ["-g", "-gdwarf-4", flags, "-Wl,--build-id", "a.c", "-o", name];
        tool(lab.path(), "cc", &args);
    }
    tool(lab.path(), "dwp", &["-e", "app"]);
    tool(lab.path(), "dwz", &["-m", "shared", "left", "right"]);
    fs::copy(lab.path().join("app.dwp"), lab.path().join("stray.dwp")).expect("copied");

    let _collector = lab.collector();
    let path = |name: &str| lab.path().join(name).to_string_lossy().into_owned();
    let upload = |names: &[&str]| {
        let paths: Vec<String> = names.iter().map(|name| path(name)).collect();
        let mut args = vec!["objects", "upload"];
        args.extend(paths.iter().map(String::as_str));
        cli::run(lab.port(), &args)
    };
    let said = upload(&["app", "left", "shared"]).success("objects upload");
    for words in ["app.dwp: uploaded, split units of file-gnu-", "shared: uploaded, debug file of"]
    {
        assert!(said.contains(words), "{said}");
    }
    for (name, source) in [("app", "split"), ("left", "shared")] {
        let sources = wait::until("companions in the table", SOON, || {
            let ready = cli::json(lab.port(), &["objects", "--state", "ready"]);
            let object = cli::row(&ready, "path", &path(name))?.clone();
            let sources = object["sources"].as_array()?.clone();
            sources.contains(&Value::from(source)).then_some(sources)
        });
        assert!(!sources.contains(&Value::from("incomplete")), "{name}: {sources:?}");
    }
    let words = ["split units go with a binary", "stray is not there", "1 of 1 files were not"];
    upload(&["stray.dwp"]).complaint("objects upload", &words);
}
