//! The targets, by where the bytes come from.

pub(crate) mod elf;
pub(crate) mod fleet;
pub(crate) mod host;
pub(crate) mod stacks;
pub(crate) mod stored;
pub(crate) mod symbols;
