use std::sync::Arc;

use arrow_array::{Int32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::*;
use crate::{
    catalog::FileId,
    format::write::{FileWriter, Layout},
};

/// What Parquet's own reader finds of a column, and its smallest and largest text.
fn written(
    texts: &[String],
    numbers: &[Option<i32>],
    is_optional: bool,
) -> (Vec<Option<String>>, Option<(String, String)>) {
    let kind = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
    let schema = Arc::new(Schema::new(vec![Field::new("text", kind, is_optional)]));
    let dictionary: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    let column = DictionaryArray::<Int32Type>::try_new(
        numbers.iter().copied().collect::<Int32Array>(),
        dictionary,
    );
    let mut file = FileWriter::new(FileId::random(), &schema, &Layout::default()).expect("begins");
    file.group(vec![Arc::new(column.expect("valid"))]).expect("written");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.finish().expect("ends"));
    let reader = reader.expect("a Parquet file");
    let group = reader.metadata().row_group(0).clone();
    let bounds = match group.column(0).statistics() {
        Some(Statistics::ByteArray(bounds)) => {
            bounds.min_opt().zip(bounds.max_opt()).map(|(a, b)| {
                let text = |bytes: &ByteArray| bytes.as_utf8().expect("text").to_owned();
                (text(a), text(b))
            })
        }
        _ => None,
    };
    let rows: Vec<RecordBatch> =
        reader.build().expect("opens").collect::<Result<_, _>>().expect("reads");
    let read = rows.iter().flat_map(|rows| {
        let column = arrow_cast(rows.column(0));
        (0..column.len())
            .map(|row| column.is_valid(row).then(|| column.value(row).to_owned()))
            .collect::<Vec<_>>()
    });
    (read.collect(), bounds)
}

/// A column as texts, whichever way the reader has it.
fn arrow_cast(column: &ArrayRef) -> StringArray {
    if let Some(texts) = column.as_any().downcast_ref::<StringArray>() {
        return texts.clone();
    }
    let column = column.as_any().downcast_ref::<DictionaryArray<Int32Type>>().expect("texts");
    let texts = column.downcast_dict::<StringArray>().expect("texts");
    texts.into_iter().collect()
}

fn check(texts: &[String], numbers: &[Option<i32>], is_optional: bool) {
    let expected: Vec<Option<String>> = numbers
        .iter()
        .map(|number| number.map(|number| texts[usize::try_from(number).expect("small")].clone()))
        .collect();
    let (read, bounds) = written(texts, numbers, is_optional);
    assert_eq!(read, expected);
    let present = || expected.iter().flatten().cloned();
    assert_eq!(bounds, present().min().zip(present().max()));
}

/// Runs of one number, of some length.
fn runs(texts: usize, is_optional: bool) -> impl Strategy<Value = Vec<Option<i32>>> {
    let number = (0..i32::try_from(texts).expect("few"), any::<bool>());
    let number =
        number.prop_map(move |(number, is_there)| (is_there || !is_optional).then_some(number));
    let run = (number, prop_oneof![3 => 1..3_usize, 1 => 1..40_usize]);
    proptest::collection::vec(run, 1..60).prop_map(|runs| {
        runs.into_iter().flat_map(|(number, length)| std::iter::repeat_n(number, length)).collect()
    })
}

proptest! {
    /// Check that Parquet's reader finds what was written, for any number of texts, with runs and without.
    #[test]
    fn what_is_written_is_read(
        (texts, numbers, is_optional) in (1..300_usize, any::<bool>()).prop_flat_map(|(texts, is_optional)| {
            (Just(texts), runs(texts, is_optional), Just(is_optional))
        }),
    ) {
        let texts: Vec<String> = (0..texts).map(|text| format!("text {text}")).collect();
        check(&texts, &numbers, is_optional);
    }
}

/// Check a column without a text, one with a single one, and many numbers of 17 bits.
#[test]
fn borders_are_written() {
    let texts = ["only".to_owned(), String::new()];
    check(&texts, &[None; 100], true);
    check(&texts, &[Some(0); 100], false);
    check(&texts, &[Some(1)], true);
    let texts: Vec<String> = (0..70_000).map(|text| format!("{text}")).collect();
    let numbers: Vec<_> = (0..100_000).map(|row| Some(row * 7919 % 70_000)).collect();
    check(&texts, &numbers, false);
    check(&texts, &numbers, true);
}

/// Check that texts that make no good dictionary are written all the same, and that bounds that would be long are
/// left out or shortened.
#[test]
fn long_texts_are_written() {
    let texts: Vec<String> = (0..6).map(|text| format!("{text}").repeat(1 << 20)).collect();
    let numbers: Vec<_> = (0..6).map(Some).collect();
    assert_eq!(written(&texts, &numbers, true).0.len(), 6);
    let texts = ["x".repeat(2000), "y".to_owned()];
    let (read, bounds) = written(&texts, &[Some(0), Some(1)], false);
    assert_eq!((read.len(), bounds), (2, None));
}
