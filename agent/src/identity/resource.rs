//! `OTEL_RESOURCE_ATTRIBUTES`: `key=value,key=value`, values percent-encoded.

use percent_encoding::percent_decode_str;

/// Attributes looked at; more than any real process sets.
const MAX_ATTRIBUTES: usize = 128;

/// Parses the variable. Parts that are not `key=value` are passed over, as its specification asks a
/// reader to be lenient about a process it does not own.
pub fn resource_attributes(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .take(MAX_ATTRIBUTES)
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| {
            let value = percent_decode_str(value.trim()).decode_utf8_lossy();
            (key.trim().to_owned(), value.into_owned())
        })
        .collect()
}
