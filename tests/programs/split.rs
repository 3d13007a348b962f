//! Rust: a free function, a generic one and a trait method behind a vtable, 50 %, 30 % and 20 % of each
//! thread's CPU time. The protocol is burn.h's. One file without dependencies: built by rustc alone.

use std::{
    env,
    hint::black_box,
    io::{Read, Write},
    process,
    sync::atomic::{AtomicBool, Ordering},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const MILLISECOND: u64 = 1_000_000;
const CLOCK_THREAD_CPUTIME_ID: i32 = 3;

static STOP: AtomicBool = AtomicBool::new(false);
static TABLE: [u32; 4096] = [0; 4096];

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, now: *mut Timespec) -> i32;
    fn gettid() -> i32;
}

struct Part {
    name: &'static str,
    share: u64,
    run: fn(u64, u64) -> u64,
}

const PARTS: [Part; 3] = [
    Part { name: "split::hash_rounds", share: 50, run: hash_rounds },
    Part { name: "split::walk", share: 30, run: walk::<u32> },
    Part { name: "split::Cooling as split::Model>::step", share: 20, run: cool },
];

struct Report {
    tid: i32,
    cpu_ns: u64,
    spent: [u64; PARTS.len()],
}

// === the work ===

#[inline(never)]
fn hash_rounds(rounds: u64, seed: u64) -> u64 {
    let mut h = seed | 1;
    for i in 0..rounds {
        h ^= h << 13;
        h ^= h >> 7;
        h ^= h << 17;
        h = h.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    h
}

#[inline(never)]
fn walk<T: From<u32> + Into<u64>>(rounds: u64, seed: u64) -> u64 {
    let mut at = seed;
    for i in 0..rounds {
        let step: u64 = T::from(TABLE[(at >> 20) as usize & 4095]).into();
        at = black_box(at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step + i));
    }
    at
}

trait Model {
    fn step(&self, rounds: u64, seed: u64) -> u64;
}

struct Cooling;

impl Model for Cooling {
    #[inline(never)]
    fn step(&self, rounds: u64, seed: u64) -> u64 {
        let mut x = 1.0 + (seed & 1023) as f64;
        for _ in 0..rounds {
            x = x * 0.999 + 3.0 / (x + 1.0);
        }
        x as u64
    }
}

fn cool(rounds: u64, seed: u64) -> u64 {
    let model: &dyn Model = black_box(&Cooling);
    black_box(model.step(rounds, seed))
}

// === the measurement ===

fn cpu_now() -> u64 {
    let mut now = Timespec { seconds: 0, nanos: 0 };
    // SAFETY: the pointer is to a live timespec of the C layout.
    let status = unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    assert_eq!(status, 0, "clock_gettime failed");
    now.seconds as u64 * 1000 * MILLISECOND + now.nanos as u64
}

/// Rounds that take about a millisecond of CPU.
fn calibrate(part: &Part, spent: &mut u64, sink: &mut u64) -> u64 {
    let mut rounds = 64;
    loop {
        let before = cpu_now();
        *sink ^= (part.run)(rounds, *sink);
        let took = cpu_now() - before;
        *spent += took;
        if took >= MILLISECOND / 2 {
            return rounds;
        }
        rounds *= 2;
    }
}

/// The part that is furthest behind its share.
fn choose(spent: &[u64; PARTS.len()]) -> usize {
    let mut best = 0;
    for (i, part) in PARTS.iter().enumerate() {
        if spent[i] * PARTS[best].share < spent[best] * part.share {
            best = i;
        }
    }
    best
}

fn burn(over: &dyn Fn() -> bool) -> Report {
    // SAFETY: gettid has no arguments and cannot fail.
    let tid = unsafe { gettid() };
    let (mut spent, mut sink) = ([0; PARTS.len()], 1);
    let mut rounds = [0; PARTS.len()];
    for (i, part) in PARTS.iter().enumerate() {
        rounds[i] = calibrate(part, &mut spent[i], &mut sink);
    }
    let mut random = (tid as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while !over() {
        let i = choose(&spent);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let slice = 20 * MILLISECOND + random % (20 * MILLISECOND);
        let start = cpu_now();
        let mut used = 0;
        while used < slice && !over() {
            sink ^= (PARTS[i].run)(rounds[i], sink);
            used = cpu_now() - start;
        }
        spent[i] += used;
    }
    black_box(sink);
    Report { tid, cpu_ns: cpu_now(), spent }
}

fn print_line(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("stdout is open");
}

fn json(report: &Report) -> String {
    let parts: Vec<_> =
        PARTS.iter().zip(report.spent).map(|(part, ns)| format!("\"{}\":{ns}", part.name)).collect();
    format!("{{\"tid\":{},\"cpu_ns\":{},\"parts\":{{{}}}}}", report.tid, report.cpu_ns, parts.join(","))
}

fn option(name: &str) -> Option<u64> {
    let mut args = env::args().skip_while(|arg| arg != name);
    args.nth(1).map(|value| value.parse().expect("a number"))
}

fn main() {
    let deadline = option("--seconds").map(|s| Instant::now() + Duration::from_secs(s));
    print_line(&format!("{{\"ready\":true,\"pid\":{}}}", process::id()));
    let listener = thread::spawn(|| {
        // A byte, the end of the input and an error all mean "stop".
        let _ = std::io::stdin().read(&mut [0]);
        STOP.store(true, Ordering::Relaxed);
    });
    let (sender, reports) = mpsc::channel();
    let count = option("--threads").unwrap_or(1);
    for _ in 0..count {
        let sender = sender.clone();
        thread::spawn(move || {
            let over = || {
                STOP.load(Ordering::Relaxed) || deadline.is_some_and(|end| Instant::now() >= end)
            };
            sender.send(burn(&over)).expect("main waits");
            loop {
                thread::park();
            }
        });
    }
    let all: Vec<_> = reports.iter().take(count as usize).map(|report| json(&report)).collect();
    print_line(&format!("{{\"pid\":{},\"threads\":[{}]}}", process::id(), all.join(",")));
    listener.join().expect("the listener does not panic");
    while std::io::stdin().read(&mut [0]).is_ok_and(|n| n > 0) {}
}
