//! The labels that every sample of this agent carries: `host`, then what the operator adds.
//!
//! In: the command line's words. Out: labels that a collector accepts in a batch, or the reason why it
//! would refuse them: it would refuse every batch, and all samples would be lost.

use fleetprof_proto::{batch::MAX_LABEL_NAME_BYTES, labels};
use thiserror::Error;

/// Labels of every batch; each name is valid and stands once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLabels(Vec<(String, String)>);

/// A label that cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LabelError {
    /// Not of the form.
    #[error("must be NAME=VALUE")]
    Form,
    /// Not a name.
    #[error("{0:?} is not a label name (letters, digits and _, no digit first)")]
    Name(String),
    /// A name longer than a batch may have.
    #[error("a label name of {0} bytes is too long: at most {MAX_LABEL_NAME_BYTES}")]
    Long(usize),
    /// It has an option of its own.
    #[error("the label `host` is set with --host")]
    Host,
    /// Each sample has its own.
    #[error("the label `{0}` is found out for each process; choose another name")]
    Reserved(String),
    /// It stands there twice.
    #[error("the label `{0}` is given twice; each name can have one value")]
    Repeated(String),
}

// === impl BatchLabels ===

impl BatchLabels {
    /// `host` and further labels.
    ///
    /// # Errors
    /// When a name is not one, is the agent's own, or stands there twice.
    pub fn new(
        host: &str,
        more: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, LabelError> {
        let mut all = vec![(labels::HOST.to_owned(), host.to_owned())];
        for (name, value) in more {
            check_name(&name)?;
            if all.iter().any(|(other, _)| *other == name) {
                return Err(LabelError::Repeated(name));
            }
            all.push((name, value));
        }
        Ok(Self(all))
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Reads `NAME=VALUE` as the operator types it.
///
/// # Errors
/// When it is not of that form, or the name cannot be used.
pub fn parse_label(text: &str) -> Result<(String, String), LabelError> {
    let (name, value) = text.split_once('=').ok_or(LabelError::Form)?;
    check_name(name)?;
    Ok((name.to_owned(), value.to_owned()))
}

fn check_name(name: &str) -> Result<(), LabelError> {
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match name {
        _ if !valid => Err(LabelError::Name(name.chars().take(64).collect())),
        _ if name.len() > MAX_LABEL_NAME_BYTES => Err(LabelError::Long(name.len())),
        labels::HOST => Err(LabelError::Host),
        labels::SERVICE | labels::COMM => Err(LabelError::Reserved(name.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use fleetprof_proto::{
        batch::{Batch, BatchBuilder, InvalidBatch, StackIndex, Window},
        v1,
    };

    use super::*;

    /// What a collector says of a batch with these labels.
    fn validate<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<InvalidBatch> {
        let mut builder = BatchBuilder::new();
        let origin = builder.origin([("service", "s"), ("comm", "c")]);
        builder.add(origin, StackIndex::EMPTY, 0, 1, 1);
        let window = Window { start_unix_nanos: 1, end_unix_nanos: 2 };
        let batch = builder.finish(window, labels, v1::Accounting::default());
        Batch::validate(batch.wire().clone()).err()
    }

    fn parsed(texts: &[&str]) -> Result<BatchLabels, LabelError> {
        let more: Result<Vec<_>, _> = texts.iter().map(|text| parse_label(text)).collect();
        BatchLabels::new("h1", more?)
    }

    /// Check that a collector accepts a batch with whatever labels are accepted here.
    #[test]
    fn a_collector_accepts_what_is_accepted_here() {
        let longest = format!("{}=x", "n".repeat(MAX_LABEL_NAME_BYTES));
        for texts in [&[][..], &["zone=eu-1", "_a=", "node=a=b"], &[&*longest]] {
            let labels = parsed(texts).unwrap();
            assert_eq!(labels.iter().count(), texts.len() + 1);
            assert_eq!(labels.iter().next(), Some(("host", "h1")));
            assert_eq!(validate(labels.iter()), None, "{texts:?}");
        }
    }

    /// Check that labels with which a collector would refuse every batch are refused here, and those
    /// that would hide the agent's own.
    #[test]
    fn what_would_lose_every_batch_is_refused() {
        let long = "n".repeat(MAX_LABEL_NAME_BYTES + 1);
        for labels in
            [vec![("a", "1"), ("a", "2")], vec![("host", "x"), ("host", "y")], vec![(&*long, "x")]]
        {
            assert!(validate(labels).is_some(), "this test is about what a collector refuses");
        }
        let reserved = |name: &str| LabelError::Reserved(name.to_owned());
        for (texts, error) in [
            (&["a=1", "b=2", "a=1"][..], LabelError::Repeated("a".to_owned())),
            (&[&*format!("{long}=x")], LabelError::Long(MAX_LABEL_NAME_BYTES + 1)),
            (&["host=x"], LabelError::Host),
            (&["service=x"], reserved("service")),
            (&["comm=x"], reserved("comm")),
            (&["zone"], LabelError::Form),
            (&["1=x"], LabelError::Name("1".to_owned())),
            (&["=x"], LabelError::Name(String::new())),
        ] {
            assert_eq!(parsed(texts), Err(error), "{texts:?}");
        }
    }
}
