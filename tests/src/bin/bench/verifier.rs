//! How many instructions the kernel verified for each eBPF program: a load is refused beyond a
//! million, and this repository's tests fail beyond 200,000.

use fleetprof_tests::agent::{Agent, Options};

use crate::{kernel::Held, report::Report};

/// Reads them of the programs that an agent loaded.
pub(crate) fn measure(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    // Nobody listens there: what it samples is spooled.
    let options = Options::new("http://127.0.0.1:9", dir.path()).without_uploads();
    let mut agent = Agent::start(&options);
    let held = Held::of(agent.process().pid());
    agent.stop();
    for program in &held.programs {
        match program.verified {
            Some(count) => {
                let what = format!("eBPF program {}: verified", program.name);
                report.add(what, "instructions", vec![f64::from(count)]);
            }
            None => report.note(format!(
                "eBPF program {}: kernels before 5.16 do not tell what they verified",
                program.name
            )),
        }
    }
    assert!(!held.programs.is_empty(), "the agent holds no eBPF program");
}
