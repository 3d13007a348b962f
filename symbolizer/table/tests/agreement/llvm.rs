//! What LLVM says.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::compare::Frame;

/// The newest installation of LLVM's tools.
pub(crate) fn tool(name: &str) -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib")
        .expect("/usr/lib is there")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.strip_prefix("llvm-")?.parse().ok()?;
            Some((version, path.join("bin").join(name)))
        })
        .filter(|(_, tool)| tool.exists())
        .collect();
    versions.sort();
    let newest = versions.pop().map(|(_, tool)| tool);
    newest.unwrap_or_else(|| panic!("no {name} below /usr/lib/llvm-*: apt-get install llvm"))
}

/// The frames of each address, innermost first; empty where LLVM knows nothing.
pub(crate) fn symbolize(object: &Path, addresses: &[u64]) -> Vec<Vec<Frame>> {
    let mut child = Command::new(tool("llvm-symbolizer"))
        .args(["--inlines", "--no-demangle", "--output-style=JSON", "--no-debuginfod", "-e"])
        .arg(object)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("llvm-symbolizer starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let feeder = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("llvm-symbolizer ends");
    feeder.join().expect("no panic").expect("llvm-symbolizer reads its input");
    assert!(output.status.success());
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let answers: Vec<_> = lines.map(frames).collect();
    assert_eq!(answers.len(), addresses.len(), "one answer each");
    answers
}

fn frames(json: &[u8]) -> Vec<Frame> {
    let answer: Value = serde_json::from_slice(json).expect("llvm-symbolizer prints JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let symbols = answer["Symbol"].as_array().map(Vec::as_slice).unwrap_or_default();
    let frames = symbols.iter().map(|symbol| Frame {
        function: text(&symbol["FunctionName"]),
        file: text(&symbol["FileName"]),
        line: symbol["Line"].as_u64().and_then(|line| line.try_into().ok()).unwrap_or(0),
    });
    frames.filter(|frame| !frame.function.is_empty() || !frame.file.is_empty()).collect()
}
