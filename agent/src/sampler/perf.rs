//! perf events of one CPU: the timer that samples, and the stream of process events.
//!
//! In: a CPU and what to open. Out: an open event, and the bytes of its ring. It knows nothing of
//! what the records mean.

mod calibrate;
mod event;
mod ring;

pub(crate) use calibrate::NoCycles;
pub(super) use calibrate::reference_cycles_per_ns;
pub(super) use event::{PerfEvent, counting_attr, process_event_attr, sampling_attr};
pub(super) use ring::{Damaged, PerfRing, drain_memory};
