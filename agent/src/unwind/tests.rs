//! Whole stacks of real programs without frame pointers, on the running kernel: needs root, a C
//! compiler and binutils.

use std::{
    ops::Range,
    process::{Child, Command},
    time::{Duration, Instant},
};

use fleetprof_walk::{FRAME_IS_EXACT, frame_address};

use super::*;
use crate::{
    aggregate::Clocks,
    object::{RegistryConfig, testing::compile},
    process::{ProcessTable, TableConfig},
    sampler::{
        Event, Sampler, SamplerConfig, UnwindMaps,
        tests::programs::{Programs, Running},
    },
};

/// Everything between the kernel and whole stacks.
struct Host {
    sampler: Sampler,
    table: ProcessTable,
    unwinder: Unwinder<Arc<UnwindMaps>>,
    stacks: Vec<Stack>,
    /// Counted when the samples were handed out.
    received: u64,
}

/// A sample's user frames.
#[derive(Debug)]
struct Stack {
    result: ResultCode,
    /// Its stack was copied.
    copied: bool,
    in_kernel: bool,
    user: Vec<u64>,
    /// What the kernel side had found of it.
    walked: Vec<u64>,
}

/// A test that waits longer has failed: what it waits for takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

impl Host {
    fn start(pid: u32, config: &UnwindConfig) -> Self {
        let sampler =
            SamplerConfig { frequency_hz: 997, pid: Some(pid), ..SamplerConfig::default() };
        let registry = Arc::new(Registry::new(&RegistryConfig::default()));
        let sampler = Sampler::start(&sampler).unwrap();
        let unwinder = Unwinder::start(config, &registry, sampler.unwind_maps()).unwrap();
        let mut table = ProcessTable::new(TableConfig::default(), registry);
        table.scan().unwrap();
        Self { sampler, table, unwinder, stacks: Vec::new(), received: 0 }
    }

    fn of(running: &Running) -> Self {
        Self::start(running.id(), &UnwindConfig::default())
    }

    fn poll(&mut self) {
        let Self { sampler, table, unwinder, stacks, received } = self;
        let now_ns = Clocks::now().boottime_ns;
        sampler
            .poll(&mut |event| match event {
                Event::Process(event) => {
                    table.apply(&event);
                    unwinder.apply(&event);
                }
                Event::Sample(sample) => {
                    *received += 1;
                    let walked = sample.user.to_vec();
                    let sample = unwinder.certain(sample);
                    let in_kernel = !sample.kernel.is_empty();
                    let copied = sample.copied.is_some();
                    if let Unwound::Frames(user, result) =
                        unwinder.unwind(&sample, &table.bind(&sample))
                    {
                        stacks.push(Stack { result, copied, in_kernel, user, walked });
                    }
                }
            })
            .unwrap();
        table.drained(now_ns);
        unwinder.drained(now_ns);
        unwinder.poll(Clocks::now().boottime_ns, &mut |kept, user, result| {
            let in_kernel = !kept.sample(&user, result).kernel.is_empty();
            let walked = kept.sample(&user, result).user.to_vec();
            stacks.push(Stack { result, copied: true, in_kernel, user, walked });
        });
    }

    fn until(&mut self, enough: impl Fn(&[Stack]) -> bool) {
        let began = Instant::now();
        while !enough(&self.stacks) {
            assert!(began.elapsed() < PATIENCE, "waited in vain: {:?}", self.unwinder.counts());
            self.sampler.wait(Duration::from_millis(50)).unwrap();
            self.poll();
        }
    }

    /// Runs until the kernel has walked some stacks alone.
    fn until_walked_in_kernel(&mut self, count: usize) {
        self.until(|stacks| stacks.iter().filter(|stack| !stack.copied).count() >= count);
    }
}

impl Stack {
    /// The frames where calls are, innermost first.
    fn calls(&self) -> impl Iterator<Item = u64> + '_ {
        self.user.iter().map(|frame| {
            let address = frame_address(*frame);
            if frame & FRAME_IS_EXACT == 0 { address - 1 } else { address }
        })
    }

    /// Whether its innermost frames are in these functions, and nothing is missing further out.
    fn is(&self, chain: &[Range<u64>]) -> bool {
        let mut frames = chain.iter().zip(self.calls());
        // Between `main` and the root: libc's two functions and `_start`.
        self.result == ResultCode::Complete
            && self.user.len() >= chain.len() + 2
            && frames.all(|(function, address)| function.contains(&address))
    }
}

#[test]
fn every_frame_is_found_in_copies_and_in_the_kernel() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    let mut host = Host::of(&busy);
    host.until_walked_in_kernel(500);
    let chain = ["inner", "middle", "outer", "main"].map(|name| programs.function(&busy, name));
    for stack in &host.stacks {
        assert!(stack.is(&chain), "{chain:x?} {stack:x?} {:?}", host.unwinder.counts());
    }
    assert!(host.stacks[0].copied);
    // Once the kernel side knows the process, nothing is copied any more.
    let last_copy = host.stacks.iter().rposition(|stack| stack.copied).unwrap();
    assert!(last_copy < host.stacks.len() - 400, "{last_copy} of {}", host.stacks.len());
}

#[test]
fn a_stack_goes_on_from_the_kernel_into_the_program() {
    let programs = Programs::build();
    let busy = programs.start(&["kernel"]);
    let mut host = Host::of(&busy);
    host.until(|stacks| stacks.iter().filter(|s| s.in_kernel && !s.copied).count() >= 300);
    let chain = ["inner", "middle", "outer", "main"].map(|name| programs.function(&busy, name));
    for stack in host.stacks.iter().filter(|stack| stack.in_kernel) {
        assert!(stack.is(&chain), "{chain:x?} {stack:x?}");
    }
}

#[test]
fn a_signal_handler_leads_back_to_the_interrupted_function() {
    let programs = Programs::build();
    let busy = programs.start(&["signal"]);
    let mut host = Host::of(&busy);
    host.until_walked_in_kernel(300);
    let [inner, handle, middle, outer, main] =
        ["inner", "handle", "middle", "outer", "main"].map(|name| programs.function(&busy, name));
    // Behind the handler: libc's trampoline.
    for stack in host.stacks.iter().filter(|stack| !stack.copied) {
        let calls: Vec<u64> = stack.calls().collect();
        assert!(stack.is(&[inner.clone(), handle.clone()]), "{stack:x?}");
        let rest = [&inner, &middle, &outer, &main];
        let interrupted = rest.iter().zip(&calls[3..]);
        assert!(interrupted.clone().count() == 4, "{stack:x?}");
        assert!(interrupted.clone().all(|(f, address)| f.contains(address)), "{stack:x?}");
        assert_ne!(stack.user[3] & FRAME_IS_EXACT, 0, "{stack:x?}");
    }
}

#[test]
fn a_stack_deeper_than_the_limit_is_kept_and_flagged() {
    let programs = Programs::build();
    let busy = programs.start(&["deep"]);
    let mut host = Host::of(&busy);
    host.until_walked_in_kernel(50);
    let deep = programs.function(&busy, "deep");
    // A ring full of copies has no room for more of them.
    let walked = |stack: &&Stack| !stack.copied && stack.result != ResultCode::TableLate;
    for stack in host.stacks.iter().filter(walked) {
        assert_eq!(stack.result, ResultCode::UserTruncated, "{stack:x?}");
        assert_eq!(stack.user.len(), fleetprof_abi::MAX_USER_FRAMES);
        assert!(stack.calls().skip(1).all(|address| deep.contains(&address)), "{stack:x?}");
    }
}

/// A process that is ended with the test.
struct Spawned(Child);

impl Drop for Spawned {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sorts for ever, in libc, with a callback; a thread does as well.
const SORTER: &str = r#"
    #include <pthread.h>
    #include <stdlib.h>
    static int compare(const void *a, const void *b) { return *(int *)a - *(int *)b; }
    static void *work(void *unused) {
        int *numbers = malloc(4000 * sizeof(int));
        for (;;) {
            for (int i = 0; i < 4000; i++) numbers[i] = rand();
            qsort(numbers, 4000, sizeof(int), compare);
        }
        return unused;
    }
    int main(void) { pthread_t other; pthread_create(&other, 0, work, 0); work(0); }"#;

#[test]
fn stripped_static_and_threaded_programs_reach_their_roots() {
    let directory = tempfile::tempdir().unwrap();
    let variants: [(&str, &[&str]); 4] = [
        ("stripped", &["-O2", "-fomit-frame-pointer", "-s", "-pthread"]),
        ("static", &["-O3", "-fomit-frame-pointer", "-static", "-s", "-pthread"]),
        ("fixed", &["-O2", "-fomit-frame-pointer", "-no-pie", "-pthread"]),
        ("static-pie", &["-Os", "-fomit-frame-pointer", "-static-pie", "-pthread"]),
    ];
    for (name, options) in variants {
        let program = compile(directory.path(), name, SORTER, options);
        let spawned = Spawned(Command::new(program).spawn().unwrap());
        let mut host = Host::start(spawned.0.id(), &UnwindConfig::default());
        host.until_walked_in_kernel(2000);
        let complete = |stack: &&Stack| stack.result == ResultCode::Complete;
        let share = host.stacks.iter().filter(complete).count() as f64 / host.stacks.len() as f64;
        let other = host.stacks.iter().find(|stack| !complete(stack));
        assert!(share >= 0.995, "{name}: {share} of {}: {other:x?}", host.stacks.len());
    }
}

#[test]
fn a_program_that_is_replaced_is_known_anew() {
    let programs = Programs::build();
    // The shell becomes the program when it has been sampled for a while.
    let script = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; exec \"$0\" user";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(programs.path("busy")).stdout(std::process::Stdio::null());
    let spawned = Spawned(shell.spawn().unwrap());
    let mut host = Host::start(spawned.0.id(), &UnwindConfig::default());
    let has_become = || {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", spawned.0.id()));
        comm.is_ok_and(|comm| comm == "busy\n")
    };
    host.until_walked_in_kernel(20);
    host.until(|_| has_become());
    let before = host.stacks.len();
    host.until(|stacks| stacks.len() >= before + 300);
    // While the kernel exchanges the programs, there is no user stack.
    for stack in host.stacks.iter().filter(|stack| !stack.in_kernel) {
        assert_eq!(stack.result, ResultCode::Complete, "{stack:x?}");
    }
}

/// Maps one of two files over the other, and calls it. Both have a function at the same place that fills its frame with
/// addresses within `decoy`, one of them a frame of another size: by the wrong table, `decoy` is the caller.
const SWAPPER: &str = r#"
    #include <fcntl.h>
    #include <stdint.h>
    #include <sys/mman.h>
    #define NEVER __attribute__((noinline, noclone))
    static volatile unsigned long sink;
    NEVER void decoy(void) { for (int i = 0; i < 100; i++) sink += i; sink *= 3; }
    NEVER unsigned long caller(unsigned long (*code)(unsigned long), unsigned long from) {
        return code(from) + 1;
    }
    int main(int argc, char **argv) {
        int files[2] = {open(argv[1], O_RDONLY), open(argv[2], O_RDONLY)};
        char *place = mmap(0, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        unsigned long offset = 0;
        for (const char *digit = argv[3]; *digit; digit++) offset = offset * 10 + *digit - '0';
        for (unsigned round = 0; argc == 4; round++) {
            mmap(place, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, files[round % 2], offset & ~4095ul);
            sink += caller((unsigned long (*)(unsigned long))(place + (offset & 4095)), (unsigned long)decoy + 8);
        }
    }"#;

const SWAPPED: &str = r"
    __attribute__((aligned(4096))) unsigned long spin(unsigned long from) {
        volatile unsigned long frame[WORDS];
        for (int i = 0; i < WORDS; i++) frame[i] = from;
        for (int i = 0; i < 9000000 / WORDS; i++)
            for (int j = 0; j < WORDS; j++) frame[j] = frame[(j + i) % WORDS];
        return frame[3];
    }";

#[test]
fn code_mapped_over_other_code_is_not_walked_by_the_old_table() {
    let directory = tempfile::tempdir().unwrap();
    let library = |words: u32| {
        let define = format!("-DWORDS={words}");
        let options = ["-O2", "-fomit-frame-pointer", "-shared", "-fPIC", &define];
        compile(directory.path(), &format!("swapped-{words}"), SWAPPED, &options)
    };
    let libraries = [library(64), library(16)];
    let [offset, other] = [0, 1].map(|number| symbol(&libraries[number], "spin"));
    assert_eq!(offset.start, other.start, "the functions are at the same place");
    let options = ["-O2", "-fomit-frame-pointer", "-no-pie"];
    let program = compile(directory.path(), "swapper", SWAPPER, &options);
    let mut command = Command::new(&program);
    let spawned = Spawned(command.args(&libraries).arg(offset.start.to_string()).spawn().unwrap());
    let [caller, decoy] = ["caller", "decoy"].map(|name| symbol(&program, name));
    let mut host = Host::start(spawned.0.id(), &UnwindConfig::default());
    let changed = |stack: &&Stack| stack.result == ResultCode::MappingChanged;
    // Within the program itself everything is certain.
    let certain = |stack: &&Stack| {
        let innermost = stack.calls().next();
        !stack.in_kernel
            && stack.result == ResultCode::Complete
            && innermost.is_some_and(|address| address > caller.end + 0x100_0000)
            && stack.calls().nth(1).is_some()
    };
    // On a busy machine this process hears late of what is mapped, and much is doubtful.
    host.until(|stacks| {
        let count = |of: &dyn Fn(&&Stack) -> bool| stacks.iter().filter(of).count();
        count(&changed) >= 200 && count(&certain) >= 500
    });
    // It happens: this is what the kernel side would have had us believe.
    let fooled = |stack: &&Stack| {
        let address = stack.walked.get(1).map(|frame| frame_address(*frame));
        address.is_some_and(|address| decoy.contains(&address))
    };
    let fooled = host.stacks.iter().filter(changed).filter(fooled).count();
    assert!(fooled > 0, "no walk was fooled: {:x?}", &host.stacks[..20]);
    for stack in host.stacks.iter().filter(certain) {
        let second = stack.calls().nth(1).expect("it has one");
        assert!(caller.contains(&second), "{caller:x?} {stack:x?}");
    }
}

/// Addresses of a function in a file, as binutils say.
fn symbol(file: &Path, name: &str) -> Range<u64> {
    let output = Command::new("nm").arg("-S").arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
    let mut words = line.split(' ').map(|word| u64::from_str_radix(word, 16));
    let (start, size) = (words.next().unwrap().unwrap(), words.next().unwrap().unwrap());
    start..start + size
}

#[test]
fn each_copied_stack_ends_in_one_result() {
    let programs = Programs::build();
    let busy = programs.start(&["user"]);
    // No room for a sample that waits.
    let config = UnwindConfig { waiting_bytes: 0, ..UnwindConfig::default() };
    let mut host = Host::start(busy.id(), &config);
    host.until_walked_in_kernel(100);
    host.sampler.stop_sampling();
    host.poll();
    host.poll();
    let copied = host.stacks.iter().filter(|stack| stack.copied).count() as u64;
    assert_eq!(host.received, host.stacks.len() as u64);
    assert_eq!(host.unwinder.finished().iter().sum::<u64>(), copied);
    let late = usize::from(ResultCode::TableLate.number());
    assert!(host.unwinder.finished()[late] > 0);
}
