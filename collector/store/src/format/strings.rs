//! Texts of a column, each once: what its dictionary is made of.

use std::sync::Arc;

use arrow_array::{ArrayRef, DictionaryArray, Int32Array, StringArray, types::Int32Type};
use hashbrown::HashMap;

use super::FormatError;

/// Numbers distinct texts in the order they come.
#[derive(Debug, Default)]
pub(super) struct Strings {
    rows: HashMap<Box<str>, i32>,
    texts: Vec<Box<str>>,
}

/// The texts of a column, when all have come.
pub(super) type Texts = Arc<StringArray>;

// === impl Strings ===

impl Strings {
    /// The number of a text.
    pub(super) fn number(&mut self, text: &str) -> i32 {
        if let Some(known) = self.rows.get(text) {
            return *known;
        }
        // 2^31 texts would need a hundred gigabytes first.
        let next = i32::try_from(self.texts.len()).unwrap_or(i32::MAX);
        self.rows.insert(text.into(), next);
        self.texts.push(text.into());
        next
    }

    /// All of them, by number.
    pub(super) fn finish(self) -> Texts {
        Arc::new(StringArray::from_iter_values(self.texts))
    }
}

/// A column of texts by their numbers.
///
/// # Errors
/// Never: the numbers come from the texts.
pub(super) fn column(numbers: Int32Array, texts: &Texts) -> Result<ArrayRef, FormatError> {
    let texts: ArrayRef = Arc::<StringArray>::clone(texts);
    let column = DictionaryArray::<Int32Type>::try_new(numbers, texts);
    Ok(Arc::new(column.map_err(FormatError::write)?))
}
