//! The store as a whole, in a directory: what is appended is found, at every level, once.

mod fixture;
mod levels;
mod removing;
mod writing;
