//! What `fleetprof-agent` can be told to do.

pub mod doctor;
pub mod record;
pub mod run;
