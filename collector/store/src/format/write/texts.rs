//! Columns of texts whose numbers are known already.
//!
//! Parquet's writer takes the text of every row and hashes it to find the number of it again; of a file of
//! stacks that was half of the time that writing took (ADR 008). What is written is the same: a dictionary page
//! and one page of numbers, as RLE and bit packing have them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, DictionaryArray, StringArray, types::Int32Type};
use arrow_buffer::ArrowNativeType as _;
use bytes::Bytes;
use parquet::{
    basic::{Compression, Encoding},
    column::{
        page::{CompressedPage, Page, PageWriter},
        writer::ColumnCloseResult,
    },
    data_type::ByteArray,
    errors::ParquetError,
    file::{
        metadata::ColumnChunkMetaData,
        properties::EnabledStatistics,
        statistics::{Statistics, ValueStatistics},
        writer::{SerializedPageWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};

use super::{COMPRESSION_LEVEL, PAGE_BYTES};

/// Longest text that is said as a bound, bytes.
const MAX_BOUND_BYTES: usize = 1 << 10;
/// Numbers that follow each other and are equal become one from so many on.
const MIN_RUN: usize = 8;

/// A column chunk, and what a row group has to know of it.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

/// Compresses the pages of one file.
pub(super) struct TextWriter {
    compressor: zstd::bulk::Compressor<'static>,
}

// === impl TextWriter ===

impl TextWriter {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(COMPRESSION_LEVEL)? })
    }

    /// The chunk of a column; `None` when it is none of these columns, or better left to Parquet's writer, as the
    /// texts are long.
    pub(super) fn chunk(
        &mut self,
        descriptor: &ColumnDescPtr,
        column: &ArrayRef,
        statistics: EnabledStatistics,
    ) -> Result<Option<Chunk>, ParquetError> {
        let Some(column) = column.as_any().downcast_ref::<DictionaryArray<Int32Type>>() else {
            return Ok(None);
        };
        let Some(texts) = column.values().as_any().downcast_ref::<StringArray>() else {
            return Ok(None);
        };
        let used = Used::new(column, texts);
        if used.bytes > PAGE_BYTES || descriptor.max_rep_level() > 0 {
            return Ok(None);
        }
        let mut chunk = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut chunk);
        let (count, rows) = (row_count(used.texts.len())?, row_count(column.len())?);
        let mut metadata = ColumnChunkMetaData::builder(Arc::clone(descriptor))
            .set_compression(Compression::ZSTD(super::level()?))
            .set_num_values(i64::from(rows));
        // Also where no row has a text: readers would take the pages for texts that are written out, and compare
        // all rows with each other.
        let page = |buf| Page::DictionaryPage {
            buf,
            num_values: count,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let dictionary = pages.write_page(self.page(&used.dictionary(texts), page)?)?;
        metadata = metadata
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(long(dictionary.compressed_size)?);
        let page = |buf| Page::DataPage {
            buf,
            num_values: rows,
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let body = body(column, &used.numbers, count, descriptor.max_def_level() > 0);
        let data = pages.write_page(self.page(&body, page)?)?;
        let uncompressed = dictionary.uncompressed_size + data.uncompressed_size;
        let bytes = Bytes::from(chunk.into_inner()?);
        metadata = metadata
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_total_compressed_size(long(bytes.len())?)
            .set_total_uncompressed_size(long(uncompressed)?);
        if statistics != EnabledStatistics::None {
            metadata = metadata.set_statistics(used.statistics(texts, column.null_count()));
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: column.len() as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok(Some(Chunk { bytes, close }))
    }

    fn page(
        &mut self,
        plain: &[u8],
        page: impl Fn(Bytes) -> Page,
    ) -> Result<CompressedPage, ParquetError> {
        let compressed = self.compressor.compress(plain)?;
        Ok(CompressedPage::new(page(compressed.into()), plain.len()))
    }
}

/// The texts that some rows have, of all there are.
struct Used {
    /// By number in the column: by number in the chunk, `u32::MAX` where it has none.
    numbers: Vec<u32>,
    /// Numbers in the column, in the order of those in the chunk.
    texts: Vec<usize>,
    /// Length of all of them.
    bytes: usize,
}

// === impl Used ===

impl Used {
    fn new(column: &DictionaryArray<Int32Type>, texts: &StringArray) -> Self {
        let mut used = Self { numbers: vec![u32::MAX; texts.len()], texts: Vec::new(), bytes: 0 };
        let mut last = None;
        for number in column.keys_iter().flatten() {
            if last.replace(number) == Some(number) || used.numbers[number] != u32::MAX {
                continue;
            }
            // Fewer than rows, which are counted by 32 bits.
            used.numbers[number] = u32::try_from(used.texts.len()).unwrap_or(u32::MAX);
            used.texts.push(number);
            used.bytes += texts.value(number).len();
        }
        used
    }

    /// The page of the texts: each after its length.
    fn dictionary(&self, texts: &StringArray) -> Vec<u8> {
        let mut page = Vec::with_capacity(self.bytes + 4 * self.texts.len());
        for number in &self.texts {
            let text = texts.value(*number).as_bytes();
            // At most as long as a page.
            page.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            page.extend(text);
        }
        page
    }

    fn statistics(&self, texts: &StringArray, nulls: usize) -> Statistics {
        let all = || self.texts.iter().map(|number| texts.value(*number));
        let bound = |text: Option<&str>| {
            text.filter(|text| text.len() <= MAX_BOUND_BYTES).map(ByteArray::from)
        };
        // Both or none: readers expect so.
        let bounds = bound(all().min()).zip(bound(all().max())).unzip();
        Statistics::ByteArray(ValueStatistics::new(
            bounds.0,
            bounds.1,
            None,
            Some(nulls as u64),
            false,
        ))
    }
}

/// The page of the numbers: which rows have one, and those.
fn body(
    column: &DictionaryArray<Int32Type>,
    numbers: &[u32],
    count: u32,
    is_optional: bool,
) -> Vec<u8> {
    let mut body = Vec::new();
    if is_optional {
        levels(column, &mut body);
    }
    let width = u32::BITS - count.saturating_sub(1).leading_zeros();
    body.push(u8::try_from(width).unwrap_or(u8::MAX));
    let numbers: Vec<u32> = if column.null_count() == 0 {
        column.keys().values().iter().map(|number| numbers[number.as_usize()]).collect()
    } else {
        column.keys_iter().flatten().map(|number| numbers[number]).collect()
    };
    hybrid(&numbers, width, &mut body);
    body
}

/// Which rows have a text.
fn levels(column: &DictionaryArray<Int32Type>, body: &mut Vec<u8>) {
    body.extend([0; 4]);
    match column.nulls().filter(|nulls| nulls.null_count() < column.len()) {
        Some(nulls) if nulls.null_count() > 0 => {
            let levels: Vec<u32> = nulls.iter().map(u32::from).collect();
            hybrid(&levels, 1, body);
        }
        // All of them, or none.
        nulls => {
            let has_all = nulls.is_some() || column.null_count() == 0;
            varint((column.len() as u64) << 1, body);
            body.push(u8::from(has_all));
        }
    }
    let length = u32::try_from(body.len() - 4).unwrap_or(u32::MAX);
    body[..4].copy_from_slice(&length.to_le_bytes());
}

/// Numbers of so many bits as runs of equal ones, and as packed bits where there are none.
fn hybrid(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    let (mut at, mut packed_from) = (0, 0);
    while at < numbers.len() {
        let number = numbers[at];
        let run = numbers[at..].iter().take_while(|other| **other == number).count();
        // Packed numbers come in groups of eight: the first ones of a run may have to fill one up.
        let fill = (at - packed_from).wrapping_neg() % 8;
        if run >= fill + MIN_RUN {
            pack(&numbers[packed_from..at + fill], width, out);
            varint(((run - fill) as u64) << 1, out);
            out.extend(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
            packed_from = at + run;
        }
        at += run;
    }
    pack(&numbers[packed_from..], width, out);
}

fn pack(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(8);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * width as usize;
    let (mut bits, mut count) = (0_u64, 0);
    for number in numbers {
        bits |= u64::from(*number) << count;
        count += width;
        while count >= 8 {
            // The lowest ones go first.
            out.push((bits & 0xff) as u8);
            bits >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        out.push((bits & 0xff) as u8);
    }
    out.resize(end, 0);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f | 0x80) as u8);
        number >>= 7;
    }
    out.push(number as u8);
}

fn row_count(rows: usize) -> Result<u32, ParquetError> {
    u32::try_from(rows).map_err(|error| ParquetError::General(error.to_string()))
}

fn long(bytes: usize) -> Result<i64, ParquetError> {
    i64::try_from(bytes).map_err(|error| ParquetError::General(error.to_string()))
}

#[cfg(test)]
mod tests;
