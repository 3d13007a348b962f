//! The BPF programs in the kernel, as the kernel itself lists them.

use anyhow::{Context as _, ensure};
use aya::programs::{ProgramInfo, loaded_programs};

use crate::report::Report;

/// The kernel's own limit is a million. A fifth of it leaves room for the next kernel's verifier.
const MAX_INSTRUCTIONS: u32 = 200_000;

/// Checks every program that is loaded now. Nobody else loads any in this machine.
pub(crate) fn check(report: &mut Report) {
    let loaded = match list() {
        Ok(loaded) => loaded,
        Err(error) => return report.check::<&str, _>("verified_instructions", Err(error)),
    };
    if loaded.iter().any(|(_, verified)| verified.is_none()) {
        return report
            .skip("verified_instructions", "this kernel does not tell (before Linux 5.16)");
    }
    for (name, verified) in loaded {
        let verified = verified.unwrap_or(0);
        let text = format!("{verified} of at most {MAX_INSTRUCTIONS}");
        let outcome = if verified <= MAX_INSTRUCTIONS { Ok(text) } else { Err(text) };
        report.check(&format!("verified_instructions:{name}"), outcome);
    }
}

/// Name and verified instructions, `None` when the kernel does not tell.
fn list() -> anyhow::Result<Vec<(String, Option<u32>)>> {
    let loaded = loaded_programs().collect::<Result<Vec<ProgramInfo>, _>>();
    let loaded = loaded.context("cannot list the loaded BPF programs")?;
    ensure!(!loaded.is_empty(), "no BPF program is loaded while the sampler runs");
    let describe = |info: &ProgramInfo| {
        let name = info.name_as_str().unwrap_or("?").to_owned();
        (name, info.verified_instruction_count().filter(|count| *count > 0))
    };
    Ok(loaded.iter().map(describe).collect())
}
