//! The pair of Parquet files: what is written can be read, by fleetprof and by others, and what is
//! damaged is refused.

mod damage;
mod engines;
mod fixture;
mod numbers;
mod round_trip;
mod tables;
