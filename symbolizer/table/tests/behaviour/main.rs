//! Check what becomes of each kind of source, and of bytes that are not what they claim to be.

mod hostile;
mod mutations;
mod sources;
mod support;
