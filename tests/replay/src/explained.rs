//! Why some stacks are not equal to perf's: every difference there may be, and how many.

use crate::judge::Verdict;

/// A difference that is understood.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// Beginnings of the names of the programs it is seen in; empty: any.
    pub programs: &'static [&'static str],
    /// What becomes of the stacks.
    pub verdict: Verdict,
    /// Most of a program's stacks, in percent.
    pub most_percent: usize,
    /// Why.
    pub because: &'static str,
}

/// All of them.
pub const EXPLANATIONS: &[Explanation] = &[
    Explanation {
        programs: &["gcc-static", "signals-static", "throw-static"],
        verdict: Verdict::PerfDiffers,
        most_percent: 100,
        because: "gcc has GNU ld make no PT_GNU_EH_FRAME for static programs, and perf's libunwind \
                  finds .eh_frame by nothing else: perf stops at the first frame. gdb has our frames.",
    },
    Explanation {
        programs: &["gcc-debug-frame"],
        verdict: Verdict::PerfDiffers,
        most_percent: 100,
        because: "The program has .debug_frame only, which perf does not find in a moved program: it \
                  stops at the first frame. gdb has our frames.",
    },
    Explanation {
        programs: &["signals-"],
        verdict: Verdict::NotRecorded,
        most_percent: 60,
        because: "perf records the stack that the thread is on. What a handler on a stack of its own \
                  interrupted lies on another: all unwinders stop there. The cases steps-signals-* \
                  have both stacks.",
    },
    Explanation {
        programs: &[],
        verdict: Verdict::NotRecorded,
        most_percent: 3,
        because: "perf copies the stack with page faults off: where a page is not present at that \
                  moment, the copy ends early, and all unwinders with it.",
    },
    Explanation {
        programs: &["musl", "signals-musl", "vfork-musl", "threads-musl"],
        verdict: Verdict::NobodyKnowsMore,
        most_percent: 100,
        because: "Debian's musl has no unwind information for its C functions: a return address in \
                  one of them is the last thing that is known. We have it and say how the walk ended.",
    },
    Explanation {
        programs: &["musl", "signals-musl", "vfork-musl", "threads-musl"],
        verdict: Verdict::GdbKnowsMore,
        most_percent: 40,
        because: "The same; gdb goes on by what lies on the stack, which is sometimes the address of a \
                  function and no return address.",
    },
    Explanation {
        programs: &["musl", "musl-static", "signals-musl", "vfork-musl", "threads-musl"],
        verdict: Verdict::Different,
        most_percent: 2,
        because: "The same, in a sample taken in musl itself: gdb guesses otherwise than by the frame \
                  pointer, or not at all. Our frames are marked as guesses.",
    },
    Explanation {
        programs: &["threads-gcc"],
        verdict: Verdict::Different,
        most_percent: 1,
        because: "glibc ends the unwind information of clone3 before its system call, because nothing it \
                  could say would be true of the child: gdb and perf know no caller for the ten bytes \
                  from there. The rule before them still holds in the parent, whose whole stack we have.",
    },
    Explanation {
        programs: &["rust", "throw-"],
        verdict: Verdict::NobodyKnowsMore,
        most_percent: 3,
        because: "libgcc, about to jump to a landing pad, writes the registers for it to where \
                  _Unwind_RaiseException saved its caller's: for these few instructions nobody can \
                  tell the caller.",
    },
    Explanation {
        programs: &[],
        verdict: Verdict::NobodyKnowsMore,
        most_percent: 0,
        because: "Seen once in some 30,000 stacks, and not understood yet: perf, gdb and we end at the \
                  same frame. One a program is let pass, and printed.",
    },
    Explanation {
        programs: &[],
        verdict: Verdict::PerfDiffers,
        most_percent: 0,
        because: "Seen once, in a static program, and not understood yet: perf has other frames; gdb, on the same registers and bytes, has our frames up to the root. One a \
                  program is let pass, and printed.",
    },
    Explanation {
        programs: &["openssl-ecdsa", "openssl-rsa"],
        verdict: Verdict::GdbKnowsMore,
        most_percent: 2,
        because: "bn_mul_mont of libcrypto keeps its caller's stack pointer at rsp + 8 * r9 + 8, which \
                  no rule can say: an explicit stop (unsupported_rule).",
    },
];

/// Why stacks of a program may end so, if that is understood.
#[must_use]
pub fn explanation(program: &str, verdict: Verdict) -> Option<&'static Explanation> {
    let fits = |one: &&Explanation| {
        let named = one.programs.iter().any(|name| program.starts_with(name));
        one.verdict == verdict && (one.programs.is_empty() || named)
    };
    EXPLANATIONS.iter().find(fits)
}
