//! CPUs that go and come back. A test binary of its own, because the machine has fewer CPUs
//! meanwhile; needs root.
#![expect(clippy::unwrap_used, reason = "in a test every failure shall show")]

use std::{
    collections::BTreeSet,
    fs::File,
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fleetprof_agent::sampler::{Event, ProcessEvent, Sampler, SamplerConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A test that waits longer has failed: the slowest change shows after 10 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// The tests share the CPUs and the limit of open files.
static TURN: Mutex<()> = Mutex::new(());

/// A CPU taken offline; brought back at the end, whatever happens and without opening a file.
struct Offline {
    switch: File,
}

impl Offline {
    fn take(cpu: u32) -> Self {
        let switch = File::options().write(true).open(switch(cpu)).unwrap();
        switch.write_all_at(b"0", 0).unwrap();
        Self { switch }
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        self.switch.write_all_at(b"1", 0).unwrap();
    }
}

/// Leaves this process so many descriptors, until it is dropped.
struct FewDescriptors {
    before: Rlimit,
}

impl FewDescriptors {
    fn leave(count: u64) -> Self {
        let before = getrlimit(Resource::Nofile);
        // The lowest number that is free; those above are free, too, or too few to matter.
        let lowest = File::open("/dev/null").unwrap().as_raw_fd();
        let current = Some(u64::try_from(lowest).unwrap() + count);
        setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
        Self { before }
    }
}

impl Drop for FewDescriptors {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.before).unwrap();
    }
}

fn switch(cpu: u32) -> PathBuf {
    PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}/online"))
}

/// What came out of the sampler in one step of the test.
#[derive(Default)]
struct Seen {
    cpus: BTreeSet<u32>,
    losses: usize,
}

struct Watch {
    sampler: Sampler,
    received: u64,
}

impl Watch {
    /// Polls until enough was seen.
    fn until(&mut self, enough: impl Fn(&Sampler, &Seen) -> bool) {
        let (start, mut seen) = (Instant::now(), Seen::default());
        while !enough(&self.sampler, &seen) {
            assert!(start.elapsed() < PATIENCE, "waited in vain: {:?}", self.sampler.counters());
            self.sampler.wait(Duration::from_millis(50)).unwrap();
            self.poll(&mut seen);
        }
    }

    fn check_accounts(&mut self) {
        self.sampler.stop_sampling();
        self.poll(&mut Seen::default());
        let counters = self.sampler.counters().unwrap();
        assert_eq!(counters.taken, self.received + counters.dropped(), "{counters:?}");
    }

    fn poll(&mut self, seen: &mut Seen) {
        let received = &mut self.received;
        self.sampler
            .poll(&mut |event| match event {
                Event::Sample(sample) => {
                    *received += 1;
                    seen.cpus.insert(sample.cpu);
                }
                Event::Process(ProcessEvent::Lost { .. }) => seen.losses += 1,
                Event::Process(_) => {}
            })
            .unwrap();
    }
}

/// Check that a CPU which returns is followed, however long it was away.
#[test]
fn a_cpu_that_returns_is_sampled_again() {
    with_every_cpu_busy(follow);
}

/// Check that a CPU which the kernel does not let us sample costs no other CPU a sample, is counted, and is
/// sampled as soon as the kernel lets us.
#[test]
fn a_cpu_that_cannot_be_sampled_is_tried_again() {
    with_every_cpu_busy(follow_without_descriptors);
}

/// Runs a test with a CPU that can be switched off.
fn with_every_cpu_busy(test: fn(&mut Watch, u32)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let config = SamplerConfig {
        frequency_hz: 997,
        pid: Some(std::process::id()),
        ..SamplerConfig::default()
    };
    let mut watch = Watch { sampler: Sampler::start(&config).unwrap(), received: 0 };
    let cpus: Vec<u32> = watch.sampler.cpus().collect();
    let Some(cpu) = cpus.iter().copied().rfind(|cpu| *cpu != 0 && switch(*cpu).exists()) else {
        assert_eq!(cpus.len(), 1, "CPUs, but none that can be switched off");
        return;
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // More busy threads than CPUs, so that each CPU has one.
        for _ in 0..2 * cpus.len() {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // A scope waits for its threads, also after a panic.
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&mut watch, cpu)));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

fn follow(watch: &mut Watch, cpu: u32) {
    watch.until(|_, seen| seen.cpus.contains(&cpu));

    // Away for long: it is dropped, then followed again, and what happened on it meanwhile is
    // reported as lost.
    let offline = Offline::take(cpu);
    watch.until(|sampler, _| sampler.cpus().all(|known| known != cpu));
    drop(offline);
    watch.until(|_, seen| seen.losses > 0 && seen.cpus.contains(&cpu));

    // Away so briefly that no look at the set of CPUs shows it: the timer's missing pulse does.
    drop(Offline::take(cpu));
    watch.until(|_, seen| seen.losses > 0);
    watch.until(|_, seen| seen.cpus.contains(&cpu));
    assert_eq!(watch.sampler.cpu_counts().faults, 0);
    watch.check_accounts();
}

fn follow_without_descriptors(watch: &mut Watch, cpu: u32) {
    let cpus = watch.sampler.cpus().count();
    watch.until(|_, seen| seen.cpus.contains(&cpu));
    let offline = Offline::take(cpu);
    watch.until(|sampler, _| sampler.cpus().all(|known| known != cpu));

    // One descriptor is enough to read which CPUs there are, and too few to sample one.
    let few = FewDescriptors::leave(1);
    drop(offline);
    watch.until(|sampler, seen| sampler.cpu_counts().failed == 1 && seen.cpus.contains(&0));
    drop(few);
    // Without any the set of CPUs cannot be read: those known are sampled on.
    let none = FewDescriptors::leave(0);
    let faults = watch.sampler.cpu_counts().faults;
    watch.until(|sampler, seen| sampler.cpu_counts().faults > faults && seen.cpus.contains(&0));
    drop(none);

    watch.until(|_, seen| seen.losses > 0 && seen.cpus.contains(&cpu));
    let counts = watch.sampler.cpu_counts();
    assert_eq!((counts.sampled(), counts.failed), (cpus, 0), "{counts:?}");
    watch.check_accounts();
}
