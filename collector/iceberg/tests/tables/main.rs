//! Tables of a store, published by the committer and read by the engines they are for.

mod engines;
mod fixture;
mod publishing;
mod remote;
