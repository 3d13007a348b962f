//! The whole pipeline on the running kernel: needs root.

use std::time::Instant;

use super::*;

/// Reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(ledger: &Arc<Ledger>) -> Pipeline {
    let sampler = SamplerConfig { frequency_hz: 997, ..SamplerConfig::default() };
    // Longer than the test: no window ends by itself.
    let aggregator =
        AggregatorConfig { window: Duration::from_secs(3600), ..AggregatorConfig::default() };
    let unwind = UnwindConfig::default();
    Pipeline::start(&sampler, &aggregator, &unwind, &Sources::survey(), Arc::clone(ledger)).unwrap()
}

/// Seals what comes out, as `run` does; gives the samples.
fn seal(ledger: &Ledger, sealed: &mut u64, window: &ClosedWindow) {
    *sealed += window.samples();
    let _ = ledger.seal(window.samples(), || None);
}

/// Check that a sampler that fails costs nothing that was read before: the open window is handed out.
#[test]
fn a_sampler_that_fails_loses_no_window() {
    let ledger = Arc::new(Ledger::new());
    let mut pipeline = start(&ledger);
    let mut sealed = 0;
    let started = Instant::now();
    while ledger.snapshot().pending.in_window < 100 {
        assert!(started.elapsed() < PATIENCE, "nothing is sampled: {:?}", ledger.snapshot());
        let mut sink = |window: ClosedWindow| seal(&ledger, &mut sealed, &window);
        pipeline.round(Duration::MAX, &mut sink).unwrap();
    }
    assert_eq!(sealed, 0, "no window has ended");
    pipeline.sampler.break_wait();
    let mut sink = |window: ClosedWindow| seal(&ledger, &mut sealed, &window);
    let error = pipeline.run(|_| Some(Duration::MAX), &mut sink).unwrap_err();
    assert!(error.to_string().contains("wait for samples"), "{error}");
    let books = ledger.snapshot();
    assert_eq!((books.imbalance(), books.ahead), (0, 0), "{books:?}");
    assert_eq!((books.pending.in_kernel, books.pending.in_window), (0, 0), "{books:?}");
    assert_eq!(books.sealed, sealed);
    assert!(sealed >= 100, "{books:?}");
}
