//! What people and scripts read: values in, text out. Nothing here talks to a collector or writes to
//! a terminal.

pub(crate) mod coverage;
pub(crate) mod json;
pub(crate) mod sparkline;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod units;
