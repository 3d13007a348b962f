//! Batches of samples: built by interning ([`BatchBuilder`]), sealed for the wire and the disk
//! ([`seal`]), opened with every index checked ([`open`]), and merged ([`Merger`]).
//!
//! A [`Batch`] is a [`v1::Batch`] whose indices are known to be valid. It can only be had from a
//! builder or through validation, so readers need no bounds checks of their own.

mod builder;
mod frame;
mod hottest;
mod merge;
mod pack;
mod seal;
mod validate;

pub use builder::{
    BatchBuilder, FrameIndex, NAMELESS, ObjectIndex, OriginIndex, SourceName, StackIndex, Window,
};
pub use frame::FrameRef;
pub use merge::{Merger, Translation};
pub use pack::pack;
pub use seal::{FORMAT, Limits, OLDEST_FORMAT, OpenError, SealError, downgrade, open, seal};
pub use validate::{Batch, InvalidBatch, MAX_ACCOUNTING_BYTES, MAX_LABEL_NAME_BYTES, SampleRow};

#[cfg(test)]
mod tests;
