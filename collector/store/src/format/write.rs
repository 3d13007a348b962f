//! Writes a table as a pair of files.

mod frames;
mod functions;
pub(super) mod samples;
pub(super) mod stacks;
mod texts;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowSchemaConverter, ArrowWriter,
        arrow_writer::{
            ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
        },
    },
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
        writer::SerializedFileWriter,
    },
    schema::types::ColumnPath,
};

use self::texts::TextWriter;
use super::{
    Encoded, FORMAT, FormatError, Names, numbers,
    order::Plan,
    schema::{CHUNKS_KEY, CREATED_BY_KEY, FILE_ID_KEY, FORMAT_KEY},
    seal,
};
use crate::{
    catalog::{FileId, ServiceSum},
    table::Table,
};

pub use functions::encode_functions;

/// Of zstd: higher ones take several times as long for a few percent.
const COMPRESSION_LEVEL: i32 = 3;
/// Largest page, bytes before compression, and largest dictionary: beyond that, texts are written out.
const PAGE_BYTES: usize = 4 << 20;

fn level() -> Result<ZstdLevel, ParquetError> {
    ZstdLevel::try_new(COMPRESSION_LEVEL)
}

/// Writes a table as a pair of files. `names` gives the names of native code, if they are to be in it.
///
/// # Errors
/// When a number has no place in the files: a count or time over 2^63, an empty window.
pub fn encode(
    id: FileId,
    table: &Table,
    names: Option<&dyn Names>,
) -> Result<Encoded, FormatError> {
    let plan = Plan::new(table)?;
    Ok(Encoded {
        samples: samples::write(id, table, &plan)?,
        stacks: stacks::write(id, &table.code, &plan, names)?,
        rows: plan.rows.len() as u64,
        services: sums(table, &plan),
        spans: plan.spans()?,
    })
}

fn sums(table: &Table, plan: &Plan<'_>) -> Vec<ServiceSum> {
    let sum = |service: &super::order::Service<'_>| {
        let mut sum = ServiceSum { service: service.name.to_owned(), samples: 0, nanos: 0 };
        for planned in &plan.rows[service.rows.clone()] {
            let row = &table.rows[planned.row as usize];
            sum.samples = sum.samples.saturating_add(row.samples);
            sum.nanos = sum.nanos.saturating_add(row.nanos);
        }
        sum
    };
    plan.services.iter().map(sum).collect()
}

/// How columns are written that are not as most.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::format) struct Layout<'a> {
    /// Those written as differences to the value before.
    pub(in crate::format) delta: &'a [&'a str],
    /// Those without smallest and largest value of each row group: nobody could leave out any for them, and
    /// finding them takes two comparisons of texts per row.
    pub(in crate::format) unbounded: &'a [&'a str],
}

/// One of the two files while it is written.
pub(super) struct FileWriter {
    parquet: SerializedFileWriter<Vec<u8>>,
    columns: ArrowRowGroupWriterFactory,
    texts: TextWriter,
    schema: SchemaRef,
    /// Row groups so far.
    groups: usize,
    /// Of the row group whose rows come bit by bit.
    open: Option<Vec<ArrowColumnWriter>>,
}

// === impl FileWriter ===

impl FileWriter {
    /// Of these columns.
    pub(super) fn new(
        id: FileId,
        schema: &SchemaRef,
        layout: &Layout<'_>,
    ) -> Result<Self, FormatError> {
        let created_by = concat!("fleetprof ", env!("CARGO_PKG_VERSION"));
        let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        let metadata = vec![
            pair(FORMAT_KEY, FORMAT.to_string()),
            pair(CREATED_BY_KEY, created_by.to_owned()),
            pair(FILE_ID_KEY, id.number().to_string()),
        ];
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level().map_err(FormatError::write)?))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_data_page_row_count_limit(usize::MAX)
            .set_dictionary_page_size_limit(PAGE_BYTES)
            .set_max_row_group_row_count(None)
            .set_key_value_metadata(Some(metadata));
        let as_delta = |properties: WriterPropertiesBuilder, column: &&str| {
            let column = ColumnPath::from(*column);
            properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED)
        };
        let properties = layout.delta.iter().fold(properties, as_delta);
        let without_bounds = |properties: WriterPropertiesBuilder, column: &&str| {
            properties
                .set_column_statistics_enabled(ColumnPath::from(*column), EnabledStatistics::None)
        };
        let properties = layout.unbounded.iter().fold(properties, without_bounds).build();
        // Only in the file: in memory, columns of files with and without numbers are of the same type.
        let described = ArrowSchemaConverter::new().convert(&numbers::numbered(schema));
        // Arrow's own schema would make other readers see dictionaries where there are texts.
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_parquet_schema(described.map_err(FormatError::write)?)
            .with_skip_arrow_metadata(true);
        let parquet = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options)
            .map_err(FormatError::write)?;
        let (parquet, columns) = parquet.into_serialized_writer().map_err(FormatError::write)?;
        let texts = TextWriter::new().map_err(FormatError::write)?;
        Ok(Self { parquet, columns, texts, schema: schema.clone(), groups: 0, open: None })
    }

    /// Writes a row group.
    fn group(&mut self, columns: Vec<ArrayRef>) -> Result<(), FormatError> {
        let rows =
            RecordBatch::try_new(self.schema.clone(), columns).map_err(FormatError::write)?;
        self.write_group(&rows).map_err(FormatError::write)
    }

    fn write_group(&mut self, rows: &RecordBatch) -> Result<(), ParquetError> {
        let schema = self.parquet.schema_descr().clone();
        let properties = self.parquet.properties().clone();
        let mut writers = self.columns.create_column_writers(self.groups)?.into_iter();
        let mut group = self.parquet.next_row_group()?;
        let mut leaf = 0;
        for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
            let mine: Vec<_> = writers.by_ref().take(leaves(field)).collect();
            let descriptor = schema.column(leaf);
            leaf += mine.len();
            let statistics = properties.statistics_enabled(descriptor.path());
            match self.texts.chunk(&descriptor, column, statistics)? {
                Some(chunk) => group.append_column(&chunk.bytes, chunk.close)?,
                None => {
                    for (leaf, mut writer) in compute_leaves(field, column)?.iter().zip(mine) {
                        writer.write(leaf)?;
                        writer.close()?.append_to_row_group(&mut group)?;
                    }
                }
            }
        }
        group.close()?;
        self.groups += 1;
        Ok(())
    }

    /// Writes rows of a row group.
    pub(super) fn add(&mut self, rows: &RecordBatch) -> Result<(), FormatError> {
        self.write_rows(rows).map_err(FormatError::write)
    }

    fn write_rows(&mut self, rows: &RecordBatch) -> Result<(), ParquetError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.columns.create_column_writers(self.groups)?,
        };
        let mut writers = open.iter_mut();
        for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
            for (leaf, writer) in compute_leaves(field, column)?.iter().zip(&mut writers) {
                writer.write(leaf)?;
            }
        }
        self.open = Some(open);
        Ok(())
    }

    /// Ends a row group; without rows there is none.
    pub(super) fn end_group(&mut self) -> Result<(), FormatError> {
        self.close_group().map_err(FormatError::write)
    }

    fn close_group(&mut self) -> Result<(), ParquetError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let mut group = self.parquet.next_row_group()?;
        for writer in open {
            writer.close()?.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.groups += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Bytes, FormatError> {
        let file = self.parquet.into_inner().map_err(FormatError::write)?;
        seal::seal(file).ok_or_else(|| FormatError::write("the writer made no Parquet file"))
    }

    /// For a file of which parts are read; also the length of the end that is read first.
    fn finish_in_parts(mut self) -> Result<(Bytes, u64), FormatError> {
        self.parquet.flush().map_err(FormatError::write)?;
        let written = self.parquet.inner();
        let mut sums = String::new();
        for group in self.parquet.flushed_row_groups() {
            for column in group.columns() {
                let (start, length) = column.byte_range();
                let range = usize::try_from(start).ok().zip(usize::try_from(length).ok());
                let bytes = range.and_then(|(start, length)| written.get(start..start + length));
                let bytes = bytes.ok_or_else(|| FormatError::write("a column is not there"))?;
                sums.push_str(&format!("{:08x}", crc32c::crc32c(bytes)));
            }
        }
        self.parquet.append_key_value_metadata(KeyValue::new(CHUNKS_KEY.to_owned(), sums));
        let file = self.parquet.into_inner().map_err(FormatError::write)?;
        seal::seal_with_end(file)
            .ok_or_else(|| FormatError::write("the writer made no Parquet file"))
    }
}

/// How many columns of Parquet a field is.
fn leaves(field: &Field) -> usize {
    match field.data_type() {
        DataType::List(item) => leaves(item),
        DataType::Map(entry, _) => leaves(entry),
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field)).sum(),
        _ => 1,
    }
}
