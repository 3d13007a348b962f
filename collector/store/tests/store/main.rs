//! The store as a whole, in a directory: what is appended is found, at every level, once.

mod fixture;
mod fsck;
mod functions;
mod killed;
mod levels;
mod moving;
mod removing;
mod symbols;
mod writing;
