//! Files as they are stored: as they are written, and without compression, which hides what is in them from
//! whoever changes single bytes.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use fleetprof_proto::symbol::{Line, Reason, Symbol};
use fleetprof_store::{
    FileId, FunctionTable, Names, Table, TableBuilder, encode, encode_functions, fuzz,
};
use parquet::{
    arrow::{
        ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder,
        arrow_writer::ArrowWriterOptions,
    },
    basic::Compression,
    file::properties::{EnabledStatistics, WriterProperties},
};

use crate::{Seeds, messages, numbered};

/// Names for all code that its host did not name.
struct Program(Vec<Vec<Line>>);

impl Names for Program {
    fn lines(&self, frame: usize) -> Option<&[Line]> {
        self.0.get(frame).map(Vec::as_slice)
    }
}

/// A samples file and its stacks file, one behind the other.
pub(crate) fn pairs() -> Result<Seeds> {
    let table = table()?;
    let line = |name: &str| Line {
        name: name.into(),
        system_name: name.into(),
        file: Some("a.rs".into()),
        line: 1,
        column: 0,
    };
    // The first is inlined into the second.
    let names = Program(vec![vec![line("f"), line("main")]; table.code.frame_count()]);
    let empty = TableBuilder::new().finish();
    let mut seeds = Vec::new();
    for (table, names) in [(&table, None), (&table, Some(&names)), (&empty, None)] {
        let names = names.map(|names| -> &dyn Names { names });
        let files = encode(id()?, table, names)?;
        seeds.push([&files.samples[..], &files.stacks].concat());
        seeds.push([unpacked(&files.samples, 4)?, unpacked(&files.stacks, 4)?].concat());
    }
    Ok(numbered(seeds))
}

/// Functions files.
pub(crate) fn functions() -> Result<Seeds> {
    let table = table()?;
    let line = |name: Arc<str>| Line {
        system_name: name.clone(),
        name,
        file: Some("a.rs".into()),
        line: 1,
        column: 0,
    };
    let symbol = |frame: usize| match frame % 3 {
        0 => Symbol::Unknown(Reason::NoObject),
        _ => Symbol::Named(vec![line("inlined".into()), line(format!("f{frame}").into())]),
    };
    let symbols: Vec<Symbol> = (0..table.code.frame_count()).map(symbol).collect();
    let mut functions = FunctionTable::default();
    functions.add(id()?, &table, &symbols);
    functions.add(FileId::from_number(2).context("a positive number")?, &table, &symbols);
    let file = encode_functions(id()?, functions)?.bytes;
    Ok(numbered([file.to_vec(), unpacked(&file, 8)?]))
}

fn id() -> Result<FileId> {
    FileId::from_number(1).context("a positive number")
}

fn table() -> Result<Table> {
    let mut table = TableBuilder::new();
    table.add_batch(&messages::services()?);
    table.add_batch(&messages::named());
    Ok(table.finish())
}

/// The same file without compression; `room`: bytes of checksums before its footer.
fn unpacked(file: &Bytes, room: usize) -> Result<Vec<u8>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone())?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(reader.metadata().file_metadata().key_value_metadata().cloned());
    let options = ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_parquet_schema(reader.parquet_schema().clone())
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), reader.schema().clone(), options)?;
    for rows in reader.build()? {
        writer.write(&rows?)?;
    }
    let mut file = writer.into_inner()?;
    let length = file.last_chunk::<8>().context("a file")?.first_chunk::<4>().context("a file")?;
    let footer = file.len() - 8 - u32::from_le_bytes(*length) as usize;
    file.splice(footer..footer, vec![0; room]);
    Ok(fuzz::sealed(&file).to_vec())
}
