//! A profile against what a program measured of itself.

use std::fmt::Write as _;

use crate::{
    pprof::{Profile, Sample},
    programs::Report,
};

/// Shares may differ by so much (3 points).
pub const POINTS: f64 = 0.03;
/// Samples of a busy thread against rate × CPU seconds may differ by so much (2 %).
pub const TOTAL: f64 = 0.02;

/// The samples of a program: those whose `comm` is its name.
///
/// # Panics
/// When there are none.
pub fn of<'a>(profile: &'a Profile, comm: &str) -> Vec<&'a Sample> {
    let samples = profile.with_label("comm", comm);
    assert!(!samples.is_empty(), "no sample has comm={comm}; {}", describe(profile));
    samples
}

/// Checks that each function's share of the samples is what the program measured.
///
/// # Panics
/// When one is off by more than [`POINTS`], with all of them.
pub fn check(samples: &[&Sample], report: &Report) {
    let total: u64 = samples.iter().map(|sample| sample.nanos).sum();
    let (mut text, mut worst) = (String::new(), 0.0_f64);
    for (function, expected) in report.shares() {
        let with = samples.iter().filter(|sample| sample.calls(function));
        let got = with.map(|sample| sample.nanos).sum::<u64>() as f64 / total as f64;
        worst = worst.max((got - expected).abs());
        writeln!(text, "  {function}: measured {expected:.4}, profile {got:.4}")
            .expect("a string takes all");
    }
    println!("shares of {} samples:\n{text}", count(samples));
    assert!(worst <= POINTS, "shares differ by {worst:.4}:\n{text}leaves: {:.3?}", leaves(samples));
}

/// Number of samples.
pub fn count(samples: &[&Sample]) -> u64 {
    samples.iter().map(|sample| sample.count).sum()
}

/// Checks the number of samples against rate × CPU seconds.
///
/// # Panics
/// When it is off by more than [`TOTAL`].
pub fn check_total(samples: u64, frequency: u32, cpu_seconds: f64) {
    let expected = f64::from(frequency) * cpu_seconds;
    let ratio = samples as f64 / expected;
    println!(
        "{samples} samples, {expected:.0} expected of {cpu_seconds:.3} CPU seconds at {frequency} Hz"
    );
    assert!(
        (ratio - 1.0).abs() <= TOTAL,
        "{samples} samples, but {cpu_seconds:.3} CPU seconds at {frequency} Hz make {expected:.0} (ratio {ratio:.4})"
    );
}

fn leaves(samples: &[&Sample]) -> Vec<(String, f64)> {
    crate::pprof::self_shares(samples).into_iter().take(8).collect()
}

fn describe(profile: &Profile) -> String {
    let mut labels: Vec<_> =
        profile.samples.iter().map(|sample| format!("{:?}", sample.labels)).collect();
    labels.sort();
    labels.dedup();
    format!("{} samples with labels {labels:#?}", profile.count())
}
