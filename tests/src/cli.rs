//! The `fleetprof` command.

use std::{process::Command, time::Duration};

use serde_json::Value;

use crate::{
    binaries,
    process::{self, Finished},
};

/// How long one command may take.
const BOUND: Duration = Duration::from_secs(60);

/// The command line of `fleetprof`, asking the collector on a port.
pub fn command(port: u16, arguments: &[&str]) -> Command {
    let mut command = process::command(binaries::path("fleetprof"));
    command.env_remove("FLEETPROF_COLLECTOR");
    command.arg("--collector").arg(format!("http://127.0.0.1:{port}")).args(arguments);
    command
}

/// Runs `fleetprof` to its end.
///
/// # Panics
/// When it takes more than a minute.
pub fn run(port: u16, arguments: &[&str]) -> Finished {
    process::run(&mut command(port, arguments), BOUND)
}

/// Runs `fleetprof … -o json` and reads the answer.
///
/// # Panics
/// When it fails or its answer is not JSON.
pub fn json(port: u16, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["-o", "json"]].concat();
    let text = run(port, &arguments).success(&format!("fleetprof {arguments:?}"));
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("fleetprof {arguments:?}: {error}:\n{text}"))
}

/// Rows of a JSON answer: the array itself, or the only array in the object.
///
/// # Panics
/// When there is none.
pub fn rows(answer: &Value) -> &Vec<Value> {
    let inner = || answer.as_object()?.values().find_map(Value::as_array);
    answer.as_array().or_else(inner).unwrap_or_else(|| panic!("no rows in {answer}"))
}

/// The row whose `key` has a value, if it is there.
pub fn row<'a>(answer: &'a Value, key: &str, value: &str) -> Option<&'a Value> {
    rows(answer).iter().find(|row| row[key] == value)
}
