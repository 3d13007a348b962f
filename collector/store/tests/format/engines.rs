//! Other engines read what is written: DuckDB and chDB, from `scripts/requirements.txt`.

use std::{fs, path::Path, process::Command};

use fleetprof_proto::{
    batch::FrameRef,
    ids::{BuildIdKind, ObjectKind},
    symbol::{self, Line, Symbol},
    v1::UnresolvedReason as Reason,
};
use fleetprof_store::{FileId, FunctionTable, Names, Table, encode, encode_functions};
use serde_json::{Value, json};

use crate::tables::{FRAMES, Sample, table};

/// Names for the code of `/usr/bin/program`, of which 0x1000 has two calls inlined.
struct Program(Vec<Vec<Line>>);

// === impl Program ===

impl Program {
    fn new(table: &Table) -> Self {
        let lines = |row| match table.code.frame(row) {
            FrameRef { path: "/usr/bin/program", name: None, offset: 0x1000, .. } => {
                vec![line("innermost", 3), line("middle", 2), line("outer", 1)]
            }
            FrameRef { path: "/usr/bin/program", name: None, .. } => vec![line("main", 0)],
            _ => Vec::new(),
        };
        Self((0..table.code.frame_count()).map(lines).collect())
    }
}

impl Program {
    fn symbols(&self) -> Vec<Symbol> {
        let symbol = |lines: &Vec<Line>| match lines.is_empty() {
            true => Symbol::Unknown(symbol::Reason::NoObject),
            false => Symbol::Named(lines.clone()),
        };
        self.0.iter().map(symbol).collect()
    }
}

impl Names for Program {
    fn lines(&self, frame: usize) -> Option<&[Line]> {
        self.0.get(frame).map(Vec::as_slice)
    }
}

fn line(name: &str, line: u32) -> Line {
    let file = (line > 0).then(|| "src/main.rs".into());
    Line { name: name.into(), system_name: format!("_Z{name}").into(), file, line, column: 0 }
}

/// The rows of a stack, as an engine should see them.
fn rows(table: &Table, names: &Program, stack: usize) -> Vec<Value> {
    let mut frames: Vec<_> = table.code.stack_frames(stack).collect();
    frames.reverse();
    let mut rows = Vec::new();
    for row in frames {
        let frame = table.code.frame(row);
        let lines = names.0[row].iter().rev();
        let mut sources: Vec<Value> = lines
            .map(|line| json!([line.name, line.file, (line.line > 0).then_some(line.line)]))
            .collect();
        if let Some(name) = frame.name {
            let line = (name.line > 0).then_some(name.line.cast_signed());
            sources.push(json!([name.function, name.file, line]));
        }
        if sources.is_empty() {
            sources.push(json!([null, null, null]));
        }
        for (number, source) in sources.iter().enumerate() {
            let mut cells = vec![json!(rows.len())];
            cells.extend(source.as_array().into_iter().flatten().cloned());
            cells.push(json!(number > 0));
            cells.extend(object(&frame));
            rows.push(Value::Array(cells));
        }
    }
    rows
}

fn object(frame: &FrameRef<'_>) -> [Value; 5] {
    let kind = match frame.kind {
        ObjectKind::KernelModule => "kernel_module",
        kind => kind.as_str(),
    };
    let build_id = frame.build_id.map(|id| match id.kind() {
        BuildIdKind::Gnu => format!("gnu:{id}"),
        BuildIdKind::Go => format!("go:{id}"),
        BuildIdKind::Htl => format!("htl:{id}"),
    });
    let reason = match frame.reason {
        Reason::Unspecified => None,
        Reason::NoMapping => Some("no_mapping"),
        Reason::ProcessGone => Some("process_gone"),
        Reason::NoBuildId => Some("no_build_id"),
        Reason::NoKernelSymbols => Some("no_kernel_symbols"),
    };
    let offset = frame.name.is_none().then_some(frame.offset.cast_signed());
    let module = (!frame.path.is_empty()).then_some(frame.path);
    [json!(module), json!(kind), json!(build_id), json!(offset), json!(reason)]
}

fn written() -> Table {
    let sample = |number: usize| Sample {
        service: 1 + number % 3,
        version: (!number.is_multiple_of(3)).then_some(number % 2),
        host: (!number.is_multiple_of(4)).then_some(number % 3),
        team: (!number.is_multiple_of(5)).then_some(number % 2),
        region: None,
        window: number % 5,
        stack: (number % 3..number % (FRAMES + 1)).collect(),
        result: 0,
        count: 1 + number as u64,
        nanos: 1_000_000 * number as u64,
    };
    table(&(0..200).map(sample).collect::<Vec<_>>())
}

/// Sums and whole stacks by service: `[service, samples, nanos, rows]`, in an order of their own.
fn expected(table: &Table, names: &Program) -> Vec<String> {
    let mut sums = std::collections::BTreeMap::new();
    for row in &table.rows {
        let service = table.labels(row.origin)["service"].to_owned();
        let sum = sums.entry((service, row.stack)).or_insert((0, 0));
        *sum = (sum.0 + row.samples, sum.1 + row.nanos);
    }
    let text = |((service, stack), (samples, nanos)): (&(String, u32), &(u64, u64))| {
        json!([service, samples, nanos, rows(table, names, *stack as usize)]).to_string()
    };
    let mut texts: Vec<_> = sums.iter().map(text).collect();
    texts.sort();
    texts
}

/// What an engine saw, in the form of [`expected`].
fn seen(answer: &Value) -> Vec<String> {
    let empty = Vec::new();
    let list = |value: &Value| value.as_array().unwrap_or(&empty).clone();
    let frames = list(&answer["frames"]);
    let text = |sum: &Value| {
        let of_stack = frames.iter().filter(|frame| frame[0] == sum[1]);
        let rows: Vec<Value> = of_stack.map(|frame| json!(list(frame)[1..])).collect();
        json!([sum[0], sum[2], sum[3], rows]).to_string()
    };
    let mut texts: Vec<_> = list(&answer["sums"]).iter().map(text).collect();
    texts.sort();
    texts
}

#[test]
fn other_engines_read_the_same() {
    let table = written();
    let names = Program::new(&table);
    let id = FileId::random();
    let files = encode(id, &table, Some(&names)).expect("a table that can be stored");
    let mut functions = FunctionTable::default();
    functions.add(id, &table, &names.symbols());
    let functions = encode_functions(FileId::random(), functions).expect("can be stored");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("1.samples.parquet"), files.samples).expect("written");
    fs::write(folder.path().join("1.stacks.parquet"), files.stacks).expect("written");
    fs::write(folder.path().join("1.functions.parquet"), functions.bytes).expect("written");
    let joined: usize =
        table.rows.iter().map(|row| rows(&table, &names, row.stack as usize).len()).sum();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for engine in ["duckdb", "chdb"] {
        // Of the tests' virtual environment: scripts/setup.sh test, scripts/env.sh.
        let output = Command::new("python3")
            .arg(here.join("tests/format/engines.py"))
            .args([engine.as_ref(), folder.path(), &here.join("../../docs/tables.md")])
            .output()
            .expect("python3 can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{engine}: {errors}");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(seen(&answer), expected(&table, &names), "{engine}");
        assert_eq!(answer["joined"][1], json!(joined), "{engine}");
        // Each sample is in one function itself, and in one hour of it.
        let samples: u64 = table.rows.iter().map(|row| row.samples).sum();
        assert_eq!(answer["functions"], json!([samples, samples]), "{engine}");
    }
}
