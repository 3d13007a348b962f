//! What `doctor` says of this kernel, as `FEATURE` lines and one check.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::report::Report;

/// Prints every finding; fails when `doctor` says that `run` would not work here.
pub(crate) fn print(report: &mut Report) {
    let outcome = ask(report);
    report.check("doctor", outcome);
}

fn ask(report: &Report) -> anyhow::Result<String> {
    // A process of its own: what `doctor` loads is gone when it ends.
    let output =
        Command::new("/proc/self/exe").arg("doctor").output().context("cannot run doctor")?;
    let said: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("doctor printed no JSON: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    let checks = said["checks"].as_array().context("doctor's report has no checks")?;
    ensure!(!checks.is_empty(), "doctor's report has no checks");
    let mut missing = Vec::new();
    for check in checks {
        let text = |key: &str| check[key].as_str().unwrap_or_default();
        report.feature(text("name"), text("status"), text("found"));
        if check["required"] == true && text("status") == "missing" {
            missing.push(format!("{}: {}", text("name"), text("found")));
        }
    }
    if said["ready"] != true || !output.status.success() {
        bail!("doctor says that run does not work here: {}", missing.join("; "));
    }
    Ok(format!("{} findings", checks.len()))
}
