//! Servers that a fleet of collectors shares, as private child processes on loopback: an object store
//! ([`Seaweed`]) and a catalog ([`Postgres`]), with a load balancer ([`Balancer`]) before them.
//!
//! They keep their data in a folder, so that they can be killed and started again, and end with whoever
//! started them: with the thread that did, so start them from one that lives on.

mod balancer;
pub(crate) mod postgres;
mod seaweed;

pub use balancer::Balancer;
pub use postgres::Postgres;
pub use seaweed::Seaweed;
