//! `docs/cli.md` shows the help of every command. This keeps it true.

use std::{fmt::Write as _, fs, path::Path};

use crate::run::{command, ran};

const COMMANDS: [&str; 9] = [
    "services",
    "labels",
    "pprof",
    "top",
    "series",
    "status",
    "objects",
    "objects upload",
    "completions",
];

fn help(words: &[&str]) -> String {
    let words = [words, &["--help"]].concat();
    let text = ran(command(None, &words).output().expect("the binary runs")).text();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

fn page(introduction: &str) -> String {
    let mut page = format!("{introduction}\n\n```text\n{}\n```\n", help(&[]));
    for command in COMMANDS {
        write!(page, "\n## fleetprof {command}\n\n```text\n{}\n```\n", help(&words(command)))
            .expect("memory");
    }
    page
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

/// Check that the page says what the program says. With FLEETPROF_BLESS=1, write it instead.
#[test]
fn the_page_shows_the_help() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let written = fs::read_to_string(&path).expect("docs/cli.md is there");
    let (introduction, _) = written.split_once("\n\n```text").expect("a block of help");
    let expected = page(introduction);
    if std::env::var_os("FLEETPROF_BLESS").is_some() {
        fs::write(&path, expected).expect("written");
        return;
    }
    assert!(
        written == expected,
        "docs/cli.md differs from --help; FLEETPROF_BLESS=1 cargo test -p fleetprof docs rewrites it"
    );
}

/// Check that the short help, the long help and `help COMMAND` all work, and that the version is there.
#[test]
fn help_and_version_are_there() {
    for command in COMMANDS {
        let by_flag = help(&words(command));
        let by_word = [&["help"], &*words(command)].concat();
        let output = crate::run::command(None, &by_word).output();
        let by_word = ran(output.expect("the binary runs")).text();
        assert_eq!(by_flag, by_word.trim_end(), "{command}");
        assert!(by_flag.contains("Examples:\n  fleetprof "), "{command} teaches by example");
    }
    let version = command(None, &["--version"]).output().expect("the binary runs");
    assert_eq!(ran(version).text(), format!("fleetprof {}\n", env!("CARGO_PKG_VERSION")));
}
