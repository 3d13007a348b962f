//! Writes a table as a pair of files.

mod frames;
mod functions;
pub(super) mod samples;
pub(super) mod stacks;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::{
    arrow::{ArrowSchemaConverter, ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
    },
    schema::types::ColumnPath,
};

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

/// One of the two files while it is written.
pub(super) struct FileWriter {
    parquet: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
}

// === impl FileWriter ===

impl FileWriter {
    /// Of these columns; those named in `delta` are written as differences to the value before.
    pub(super) fn new(id: FileId, schema: &SchemaRef, delta: &[&str]) -> Result<Self, FormatError> {
        let level = ZstdLevel::try_new(COMPRESSION_LEVEL).map_err(FormatError::write)?;
        let created_by = concat!("fleetprof ", env!("CARGO_PKG_VERSION"));
        let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        let metadata = vec![
            pair(FORMAT_KEY, FORMAT.to_string()),
            pair(CREATED_BY_KEY, created_by.to_owned()),
            pair(FILE_ID_KEY, id.number().to_string()),
        ];
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
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
        let properties = delta.iter().fold(properties, as_delta).build();
        // Only in the file: in memory, columns of files with and without numbers are of the same type.
        let described = ArrowSchemaConverter::new().convert(&numbers::numbered(schema));
        // Arrow's own schema would make other readers see dictionaries where there are texts.
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_parquet_schema(described.map_err(FormatError::write)?)
            .with_skip_arrow_metadata(true);
        let parquet = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options)
            .map_err(FormatError::write)?;
        Ok(Self { parquet, schema: schema.clone() })
    }

    /// Writes a row group.
    fn group(&mut self, columns: Vec<ArrayRef>) -> Result<(), FormatError> {
        let rows =
            RecordBatch::try_new(self.schema.clone(), columns).map_err(FormatError::write)?;
        self.add(&rows)?;
        self.end_group()
    }

    /// Writes rows of a row group.
    pub(super) fn add(&mut self, rows: &RecordBatch) -> Result<(), FormatError> {
        self.parquet.write(rows).map_err(FormatError::write)
    }

    /// Ends a row group; without rows there is none.
    pub(super) fn end_group(&mut self) -> Result<(), FormatError> {
        self.parquet.flush().map_err(FormatError::write)
    }

    pub(super) fn finish(self) -> Result<Bytes, FormatError> {
        let file = self.parquet.into_inner().map_err(FormatError::write)?;
        seal::seal(file).ok_or_else(|| FormatError::write("the writer made no Parquet file"))
    }

    /// For a file of which parts are read; also the length of the end that is read first.
    fn finish_in_parts(mut self) -> Result<(Bytes, u64), FormatError> {
        self.parquet.sync().map_err(FormatError::write)?;
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
