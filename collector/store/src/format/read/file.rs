//! A Parquet file in memory that may not be what it was.

mod page;

pub(super) use page::varint;

use std::{ops::Range, sync::Arc};

use arrow_schema::SchemaRef;
use bytes::{Buf as _, Bytes, buf::Reader};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder,
        },
    },
    errors::ParquetError,
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData},
        reader::{ChunkReader, Length},
        statistics::Statistics,
    },
};

use crate::{
    catalog::FileId,
    format::{
        FORMAT, FormatError, numbers,
        read::footer,
        schema::{FILE_ID_KEY, FORMAT_KEY},
        seal,
    },
};

/// Rows that are in memory at a time.
const BATCH_ROWS: usize = 16 << 10;
/// Most rows of a row group; written are not more than 128 Ki and one stack.
const MAX_GROUP_ROWS: i64 = 4 << 20;
/// Most rows of a file: a short one may claim many.
const MAX_ROWS: i64 = 1 << 28;
/// Largest page, bytes without compression: ten times what is written.
const MAX_PAGE_BYTES: u64 = 40 << 20;

/// One of the two files.
#[derive(Debug)]
pub(in crate::format) struct File {
    name: &'static str,
    pages: Pages,
    metadata: ArrowReaderMetadata,
    id: FileId,
}

/// The bytes of a file, as far as they are there, as Parquet's reader gets them: no page may be larger
/// than it should be.
#[derive(Clone, Debug, Default)]
struct Pages {
    /// Parts of the file by where they begin, in order.
    parts: Arc<Vec<(u64, Bytes)>>,
    /// Length of the whole file.
    length: u64,
}

// === impl File ===

impl File {
    /// Opens a file: its checksum, format and columns are right then.
    pub(in crate::format) fn open(
        name: &'static str,
        bytes: Bytes,
        schema: SchemaRef,
    ) -> Result<Self, FormatError> {
        let damaged = |what: String| FormatError::Damaged { file: name, what };
        let footer = seal::check(&bytes).map_err(|what| damaged(what.to_owned()))?;
        let metadata = footer::parse(footer).map_err(damaged)?;
        let length = bytes.len() as u64;
        let pages = Pages { parts: Arc::new(vec![(0, bytes)]), length };
        Self::of(name, pages, metadata, schema)
    }

    /// Opens a file of this length by its end; its rows are read after [`Self::fill`].
    pub(super) fn open_end(
        name: &'static str,
        end: &[u8],
        length: u64,
        schema: SchemaRef,
    ) -> Result<Self, FormatError> {
        let damaged = |what: String| FormatError::Damaged { file: name, what };
        let footer = seal::check_end(end).map_err(|what| damaged(what.to_owned()))?;
        let metadata = footer::parse(footer).map_err(damaged)?;
        Self::of(name, Pages { length, ..Pages::default() }, metadata, schema)
    }

    fn of(
        name: &'static str,
        pages: Pages,
        metadata: ParquetMetaData,
        schema: SchemaRef,
    ) -> Result<Self, FormatError> {
        let damaged = |what: String| FormatError::Damaged { file: name, what };
        let text = |key: &str| {
            let pairs = metadata.file_metadata().key_value_metadata()?;
            pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
        };
        let format: Option<u32> = text(FORMAT_KEY).and_then(|format| format.parse().ok());
        match format {
            Some(found) if found > FORMAT => {
                return Err(FormatError::Newer { file: name, found });
            }
            Some(FORMAT) => {}
            _ => return Err(damaged("it does not say its format".to_owned())),
        }
        let id = text(FILE_ID_KEY).and_then(|id| id.parse().ok()).and_then(FileId::from_number);
        let id = id.ok_or_else(|| damaged("it does not say which pair it is of".to_owned()))?;
        check_rows(&metadata).map_err(|what| damaged(what.to_owned()))?;
        let has_numbers = numbers::has_numbers(metadata.file_metadata().schema_descr());
        let schema = if has_numbers { numbers::numbered(&schema) } else { schema };
        let options = ArrowReaderOptions::new().with_schema(schema);
        let metadata = ArrowReaderMetadata::try_new(metadata.into(), options)
            .map_err(|error| damaged(error.to_string()))?;
        Ok(Self { name, pages, metadata, id })
    }

    /// Gives the bytes of parts, in order.
    pub(super) fn fill(&mut self, parts: Vec<(u64, Bytes)>) {
        self.pages.parts = Arc::new(parts);
    }

    /// A text of the file's metadata.
    pub(super) fn metadata_text(&self, key: &str) -> Option<&str> {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// The columns of a row group: the names of those of the schema, and where their bytes are.
    pub(super) fn chunks(&self, group: usize) -> impl Iterator<Item = (&str, Range<u64>)> {
        let columns = self.metadata.metadata().row_group(group).columns();
        columns.iter().map(|column| {
            let (start, length) = column.byte_range();
            let name = column.column_path().parts().first().map_or("", String::as_str);
            (name, start..start.saturating_add(length))
        })
    }

    /// The pair it is of.
    pub(in crate::format) fn id(&self) -> FileId {
        self.id
    }

    /// Length of the whole file.
    pub(super) fn length(&self) -> u64 {
        self.pages.length
    }

    /// The columns as [`Self::batches`] has them.
    pub(in crate::format) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// Number of row groups.
    pub(in crate::format) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// An error of this file.
    pub(in crate::format) fn damaged(&self, what: impl Into<String>) -> FormatError {
        FormatError::Damaged { file: self.name, what: what.into() }
    }

    /// What is known of a column of a row group without reading it.
    fn statistics(&self, group: usize, column: &str) -> Option<&Statistics> {
        self.chunk(group, column)?.statistics()
    }

    /// A column of a row group, by its path.
    fn chunk(&self, group: usize, column: &str) -> Option<&ColumnChunkMetaData> {
        let columns = self.metadata.metadata().row_group(group).columns();
        let is_column = |chunk: &&ColumnChunkMetaData| {
            column.split('.').eq(chunk.column_path().parts().iter().map(String::as_str))
        };
        columns.iter().find(is_column)
    }

    /// The least and the greatest number in a column of a row group, where known.
    pub(super) fn bounds(&self, group: usize, column: &str) -> Option<(i64, i64)> {
        match self.statistics(group, column)? {
            Statistics::Int64(numbers) => Some((*numbers.min_opt()?, *numbers.max_opt()?)),
            _ => None,
        }
    }

    /// Whether a text may be in a column of a row group. Bounds may be shortened, and still are bounds.
    pub(super) fn may_have(&self, group: usize, column: &str, text: &str) -> bool {
        let Some(Statistics::ByteArray(texts)) = self.statistics(group, column) else {
            return true;
        };
        let (Some(min), Some(max)) = (texts.min_opt(), texts.max_opt()) else { return true };
        (min.data()..=max.data()).contains(&text.as_bytes())
    }

    /// Whether a column of a row group may have nulls.
    pub(super) fn may_have_nulls(&self, group: usize, column: &str) -> bool {
        self.statistics(group, column).and_then(Statistics::null_count_opt) != Some(0)
    }

    /// Whether a column of a row group, named by its path, is known to have nothing but nulls: reading it
    /// would only take time.
    pub(super) fn is_null(&self, group: usize, column: &str) -> bool {
        self.chunk(group, column).is_some_and(|chunk| {
            let nulls = chunk.statistics().and_then(Statistics::null_count_opt);
            nulls.is_some_and(|nulls| i64::try_from(nulls) == Ok(chunk.num_values()))
        })
    }

    /// The rows of a row group, of those of these columns that are not null in all rows.
    pub(super) fn batches<'a>(
        &self,
        group: usize,
        columns: impl IntoIterator<Item = &'a str>,
    ) -> Result<ParquetRecordBatchReader, FormatError> {
        self.all_batches(group, columns.into_iter().filter(|column| !self.is_null(group, column)))
    }

    /// The rows of a row group, of these columns.
    pub(in crate::format) fn all_batches<'a>(
        &self,
        group: usize,
        columns: impl IntoIterator<Item = &'a str>,
    ) -> Result<ParquetRecordBatchReader, FormatError> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.pages.clone(),
            self.metadata.clone(),
        );
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
        let reader = builder
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build();
        reader.map_err(|error| self.damaged(error.to_string()))
    }
}

fn check_rows(metadata: &ParquetMetaData) -> Result<(), &'static str> {
    let mut rows = 0;
    for group in metadata.row_groups() {
        if !(0..=MAX_GROUP_ROWS).contains(&group.num_rows()) {
            return Err("a row group claims too many rows");
        }
        let numbers = |column: &ColumnChunkMetaData| {
            let dictionary = column.dictionary_page_offset().unwrap_or_default();
            [column.num_values(), column.compressed_size(), column.data_page_offset(), dictionary]
        };
        if group.columns().iter().flat_map(numbers).any(|number| number < 0) {
            return Err("a column has a size or a place below zero");
        }
        rows += group.num_rows();
        if rows > MAX_ROWS {
            return Err("it claims too many rows");
        }
    }
    if metadata.file_metadata().num_rows() != rows {
        return Err("its row groups have other rows than it claims");
    }
    Ok(())
}

// === impl Pages ===

impl Pages {
    /// What there is from an offset on.
    fn from(&self, start: u64) -> Option<Bytes> {
        let part = self.parts.partition_point(|(first, _)| *first <= start).checked_sub(1)?;
        let (first, bytes) = &self.parts[part];
        let start = usize::try_from(start - first).ok()?;
        (start < bytes.len()).then(|| bytes.slice(start..))
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Pages {
    type T = Reader<Bytes>;

    /// The header of a page, and what follows. Memory is taken as the header says, so that is looked at
    /// here first.
    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let bytes = self.from(start);
        let bytes =
            bytes.ok_or_else(|| ParquetError::EOF("a page begins after the end".to_owned()))?;
        match page::claim(&bytes) {
            Some(claim) if claim.is_credible(MAX_PAGE_BYTES) => Ok(bytes.reader()),
            _ => Err(ParquetError::General("a page is too large, or has no size".to_owned())),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self.from(start).filter(|bytes| length <= bytes.len()) {
            Some(bytes) => Ok(bytes.slice(..length)),
            None if length == 0 => Ok(Bytes::new()),
            None => Err(ParquetError::EOF("a page ends after the end".to_owned())),
        }
    }
}
