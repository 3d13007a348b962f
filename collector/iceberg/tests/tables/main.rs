//! Tables of a store, published by the committer and read by the engines they are for.

mod command;
mod engines;
mod fixture;
mod measure;
mod old;
mod publishing;
mod remote;
