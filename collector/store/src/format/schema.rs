//! The columns of both files, and how what is not a number is written in them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use fleetprof_proto::{
    ids::{BuildId, BuildIdKind, ObjectKind},
    labels, v1,
};

/// Name of the samples file in messages.
pub(super) const SAMPLES: &str = "samples";
/// Name of the stacks file in messages.
pub(super) const STACKS: &str = "stacks";

/// Name of the functions file in messages.
pub(super) const FUNCTIONS: &str = "functions";

/// Key of the file's metadata: the format, a decimal number.
pub(super) const FORMAT_KEY: &str = "fleetprof.format";
/// Key of the file's metadata: the program that wrote it.
pub(super) const CREATED_BY_KEY: &str = "fleetprof.created_by";
/// Key of the file's metadata: the pair, a decimal number.
pub(super) const FILE_ID_KEY: &str = "fleetprof.file_id";

/// Key of the metadata of a functions file: the CRC-32C of each column of each row group, eight hex digits
/// each, so that parts of it can be read and trusted.
pub(super) const CHUNKS_KEY: &str = "fleetprof.crc32c";

/// Labels that have a column of their name, in the order of the columns and of the rows. The first is
/// never null.
pub(super) const LABELS: [&str; 12] = [
    labels::SERVICE,
    labels::VERSION,
    labels::NAMESPACE,
    labels::HOST,
    labels::NODE,
    labels::POD,
    labels::CONTAINER,
    labels::CLUSTER,
    labels::ZONE,
    labels::INSTANCE_TYPE,
    labels::RUNTIME,
    labels::COMM,
];

/// Texts as they are in memory on both ways: by number, so that equal ones are seen as such at once.
fn text() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Key and value of an entry in the column `labels`.
pub(super) fn label_fields() -> Fields {
    let key = Field::new("key", text(), false);
    Fields::from(vec![key, Field::new("value", text(), true)])
}

/// The type of an entry in the column `labels`.
pub(super) fn label_entry() -> Arc<Field> {
    Arc::new(Field::new("key_value", DataType::Struct(label_fields()), false))
}

/// The columns of the samples file.
pub(super) fn samples() -> SchemaRef {
    let mut fields = vec![Field::new("file_id", DataType::Int64, false)];
    let label = |name: &&str| Field::new(*name, text(), *name != labels::SERVICE);
    fields.extend(LABELS.iter().map(label));
    fields.push(Field::new("labels", DataType::Map(label_entry(), false), false));
    fields.extend([time("start"), time("end")]);
    fields.push(Field::new("stack_id", DataType::Int64, false));
    fields.push(Field::new("result", DataType::Int32, false));
    fields.push(Field::new("samples", DataType::Int64, false));
    fields.push(Field::new("cpu_nanos", DataType::Int64, false));
    Arc::new(Schema::new(fields))
}

/// The columns of the stacks file.
pub(super) fn stacks() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("file_id", DataType::Int64, false),
        Field::new("stack_id", DataType::Int64, false),
        Field::new("depth", DataType::Int32, false),
        Field::new("function", text(), true),
        Field::new("system_name", text(), true),
        Field::new("file", text(), true),
        Field::new("line", DataType::Int32, true),
        Field::new("inlined", DataType::Boolean, false),
        Field::new("module", text(), true),
        Field::new("kind", text(), false),
        Field::new("build_id", text(), true),
        Field::new("offset", DataType::Int64, true),
        Field::new("reason", text(), true),
    ]))
}

fn time(name: &str) -> Field {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Field::new(name, micros, false)
}

/// Amounts of a function.
pub(super) const AMOUNTS: [&str; 4] =
    ["self_samples", "total_samples", "self_nanos", "total_nanos"];

/// Fields of an entry in the column `hours`.
pub(super) fn hour_fields() -> Fields {
    let amounts = AMOUNTS.iter().map(|name| Field::new(*name, DataType::Int64, false));
    std::iter::once(time("start")).chain(amounts).collect()
}

/// The type of an entry in the column `hours`.
pub(super) fn hour_entry() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Struct(hour_fields()), false))
}

/// The columns of a functions file.
pub(super) fn functions() -> SchemaRef {
    let mut fields = vec![
        Field::new("file_id", DataType::Int64, false),
        Field::new("service", text(), false),
        Field::new("version", text(), true),
        Field::new("function_id", DataType::Int64, false),
        Field::new("function", text(), false),
        Field::new("file", text(), true),
        Field::new("module", text(), true),
        Field::new("unnamed", text(), true),
        time("start"),
        time("end"),
    ];
    fields.extend(AMOUNTS.iter().map(|name| Field::new(*name, DataType::Int64, false)));
    fields.push(Field::new("hours", DataType::List(hour_entry()), false));
    Arc::new(Schema::new(fields))
}

const KINDS: [(ObjectKind, &str); 6] = [
    (ObjectKind::File, "file"),
    (ObjectKind::Kernel, "kernel"),
    (ObjectKind::KernelModule, "kernel_module"),
    (ObjectKind::Vdso, "vdso"),
    (ObjectKind::Anonymous, "anonymous"),
    (ObjectKind::Unknown, "unknown"),
];

/// How the column `kind` names a kind.
pub(super) fn kind_name(kind: ObjectKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("unknown", |(_, name)| name)
}

/// The kind of a name.
pub(super) fn kind_of(name: &str) -> Option<ObjectKind> {
    KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
}

const REASONS: [(v1::UnresolvedReason, &str); 4] = [
    (v1::UnresolvedReason::NoMapping, "no_mapping"),
    (v1::UnresolvedReason::ProcessGone, "process_gone"),
    (v1::UnresolvedReason::NoBuildId, "no_build_id"),
    (v1::UnresolvedReason::NoKernelSymbols, "no_kernel_symbols"),
];

/// How the column `reason` names a reason; `None` for none.
pub(super) fn reason_name(reason: v1::UnresolvedReason) -> Option<&'static str> {
    REASONS.iter().find(|(known, _)| *known == reason).map(|(_, name)| *name)
}

/// The reason of a name.
pub(super) fn reason_of(name: &str) -> Option<v1::UnresolvedReason> {
    REASONS.iter().find(|(_, known)| *known == name).map(|(reason, _)| *reason)
}

/// How the column `build_id` writes one: `gnu:HEX`, `htl:HEX`, or `go:TEXT` with what is not printable
/// escaped as `\xHH`.
pub(super) fn build_id_text(id: &BuildId) -> String {
    let kind = match id.kind() {
        BuildIdKind::Gnu => "gnu",
        BuildIdKind::Go => "go",
        BuildIdKind::Htl => "htl",
    };
    format!("{kind}:{id}")
}

/// The inverse of [`build_id_text`].
pub(super) fn build_id_of(text: &str) -> Option<BuildId> {
    let (kind, value) = text.split_once(':')?;
    let (kind, value) = match kind {
        "gnu" => (BuildIdKind::Gnu, unhex(value)?),
        "htl" => (BuildIdKind::Htl, unhex(value)?),
        "go" => (BuildIdKind::Go, unescape(value)?),
        _ => return None,
    };
    BuildId::new(kind, &value).ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(byte).collect()
}

fn byte(digits: &[u8; 2]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

/// The inverse of `escape_ascii`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            value.push(*first);
            continue;
        }
        let (escaped, after) = rest.split_first()?;
        rest = after;
        value.push(match escaped {
            b't' => b'\t',
            b'r' => b'\r',
            b'n' => b'\n',
            b'\'' | b'"' | b'\\' => *escaped,
            b'x' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                rest = after;
                byte(digits)?
            }
            _ => return None,
        });
    }
    Some(value)
}
