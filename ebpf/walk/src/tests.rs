// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Each rule on a small made-up stack; whole stacks of real programs are replayed in `tests/replay`.

extern crate std;

use std::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

use fleetprof_abi::{
    Architecture, FpRule, IndexWord, LOST, ObjectTable, PAGE_WORDS, RaRule, ResultCode, Row, Rule,
    RuleKind, SAME_VALUE, StopReason,
};

use crate::{FRAME_BY_POINTER, FRAME_IS_EXACT, Machine, Place, Step, Walk, rule_at, step};

const X86: Architecture = Architecture::X86_64;
const ARM: Architecture = Architecture::Aarch64;

/// Code of one object at `CODE`, with a rule for every granule, and a stack.
struct Fake {
    table: ObjectTable,
    pages: Vec<[u32; PAGE_WORDS]>,
    memory: BTreeMap<u64, u64>,
    frames: Vec<u64>,
    room: usize,
    reads: usize,
}

const CODE: u64 = 0x40_0000;
const GENERATED: u64 = 0x70_0000;
const PENDING: u64 = 0x80_0000;
const STACK: u64 = 0x7fff_0000;

impl Fake {
    /// One granule for each rule.
    fn new(rules: &[Rule]) -> Self {
        let mut words: Vec<u32> = rules.iter().flat_map(|rule| rule.to_words()).collect();
        let index = words.len() as u32;
        words.extend((0..rules.len() as u32).map(|rule| IndexWord::whole(rule).0));
        Self::with(words, index, 0, rules.len() as u32)
    }

    fn with(mut words: Vec<u32>, index: u32, rows: u32, granules: u32) -> Self {
        words.resize(words.len().next_multiple_of(PAGE_WORDS), 0);
        let table = ObjectTable { index, rows, granules, first_page: 7, ..ObjectTable::default() };
        Self {
            table,
            pages: words.chunks(PAGE_WORDS).map(|page| page.try_into().unwrap()).collect(),
            memory: BTreeMap::new(),
            frames: vec![],
            room: 512,
            reads: 0,
        }
    }

    fn stack(mut self, words: &[(u64, u64)]) -> Self {
        self.memory.extend(words.iter().map(|(offset, value)| (STACK + offset, *value)));
        self
    }

    fn run(&mut self, architecture: Architecture, walk: &mut Walk) -> Step {
        loop {
            let step = step(architecture, walk, self);
            if step != Step::Caller {
                return step;
            }
        }
    }
}

impl Machine for Fake {
    type Page = Box<[u32; PAGE_WORDS]>;

    fn find(&mut self, address: u64) -> Place {
        match address {
            CODE..GENERATED => Place::Table(address - CODE),
            GENERATED..PENDING => Place::Unknown,
            PENDING..0x90_0000 => Place::Missing,
            _ => Place::Nowhere,
        }
    }

    fn table(&self) -> &ObjectTable {
        &self.table
    }

    fn page(&mut self, page: u32) -> Option<Self::Page> {
        let index = page.checked_sub(self.table.first_page)? as usize;
        self.pages.get(index).copied().map(Box::new)
    }

    fn read(&mut self, address: u64) -> Option<u64> {
        self.reads += 1;
        self.memory.get(&address).copied()
    }

    fn push(&mut self, frame: u64) -> bool {
        let fits = self.frames.len() < self.room;
        if fits {
            self.frames.push(frame);
        }
        fits
    }
}

/// An address in the granule of a rule.
fn code(rule: u64) -> u64 {
    CODE + 256 * rule + 0x80
}

fn start(architecture: Architecture, ip: u64) -> Walk {
    let mut walk = Walk { ip, exact: 1, ..Walk::default() };
    for register in 0..32 {
        walk.set(register, 0x1000 + u64::from(register));
    }
    walk.set(architecture.stack_pointer(), STACK);
    walk
}

fn cfa(register: u8, offset: i32) -> Rule {
    Rule { cfa_register: register, cfa_offset: offset, ra_offset: -1, ..Rule::plain(RuleKind::Cfa) }
}

const ROOT: Rule = Rule::plain(RuleKind::Root);

/// As Go's `systemstack` has it.
const SWITCHES: Rule = Rule {
    cfa_register: 6,
    cfa_offset: 16,
    fp_ra: Rule::fp_ra(FpRule::AtCfa, RaRule::AtCfa),
    fp_offset: -2,
    ra_offset: -1,
    ..Rule::plain(RuleKind::FramePointer)
};

#[test]
fn frames_are_found_from_the_stack_pointer_with_one_read_each() {
    let saved = Rule { saved: [-3, -4, SAME_VALUE, LOST, -5], ..cfa(7, 64) };
    let mut fake = Fake::new(&[saved, cfa(7, 16), ROOT]).stack(&[(56, code(1)), (72, code(2))]);
    let mut walk = start(X86, code(0));
    assert_eq!(fake.run(X86, &mut walk), Step::End(ResultCode::Complete));
    assert_eq!(fake.frames, [code(0) | FRAME_IS_EXACT, code(1), code(2)]);
    // Where registers are saved is noted, not read.
    assert_eq!(fake.reads, 2);
}

#[test]
fn saved_registers_find_frames_further_out() {
    // The first saves rbx, the second is found by rbx and saves rbp, the third by rbp.
    let first = Rule { saved: [-2, SAME_VALUE, SAME_VALUE, SAME_VALUE, SAME_VALUE], ..cfa(7, 32) };
    let second =
        Rule { fp_ra: Rule::fp_ra(FpRule::AtCfa, RaRule::AtCfa), fp_offset: -2, ..cfa(3, 0) };
    let mut fake = Fake::new(&[first, second, cfa(6, 16), ROOT]).stack(&[
        (16, STACK + 128),
        (24, code(1)),
        (112, STACK + 256),
        (120, code(2)),
        (264, code(3)),
    ]);
    let mut walk = start(X86, code(0));
    assert_eq!(fake.run(X86, &mut walk), Step::End(ResultCode::Complete));
    assert_eq!(fake.frames.len(), 4);
}

#[test]
fn a_register_that_a_callee_may_change_is_known_to_the_caller_of_the_innermost_frame_only() {
    let mut fake =
        Fake::new(&[cfa(7, 8), cfa(10, 0), cfa(10, 0)]).stack(&[(0, code(1)), (24, code(2))]);
    let mut walk = start(X86, code(0));
    walk.set(10, STACK + 32);
    assert_eq!(fake.run(X86, &mut walk), Step::End(ResultCode::RegisterLost));
    assert_eq!(fake.frames, [code(0) | FRAME_IS_EXACT, code(1), code(2)]);
}

#[test]
fn a_lost_register_ends_the_walk_instead_of_a_guess() {
    let loses = Rule { saved: [LOST; 5], ..cfa(7, 32) };
    let mut fake = Fake::new(&[loses, cfa(3, 0)]).stack(&[(24, code(1))]);
    assert_eq!(fake.run(X86, &mut start(X86, code(0))), Step::End(ResultCode::RegisterLost));
}

#[test]
fn the_cfa_may_be_in_memory() {
    let rule = Rule { kind: RuleKind::CfaDeref as u8, cfa_offset: Rule::deref(40, 8), ..cfa(7, 0) };
    let mut fake = Fake::new(&[rule, ROOT]).stack(&[(40, STACK + 120), (120, code(1))]);
    assert_eq!(fake.run(X86, &mut start(X86, code(0))), Step::End(ResultCode::Complete));
}

#[test]
fn a_linkage_stub_has_pushed_or_not() {
    let stub = Rule { cfa_offset: 11, ra_offset: -1, ..Rule::plain(RuleKind::Plt) };
    for (byte, at) in [(10, 0), (11, 8)] {
        let mut fake = Fake::new(&[stub, ROOT]).stack(&[(at, code(1))]);
        let ip = CODE + byte;
        assert_eq!(fake.run(X86, &mut start(X86, ip)), Step::End(ResultCode::Complete), "{byte}");
    }
}

#[test]
fn a_signal_frame_leads_to_the_interrupted_instruction() {
    let mut fake = Fake::new(&[cfa(7, 8), Rule::plain(RuleKind::Signal), cfa(11, 8), ROOT]);
    let context: Vec<(u64, u64)> = (40..=168).step_by(8).map(|offset| (8 + offset, 0)).collect();
    fake = fake.stack(&context).stack(&[
        (0, code(1)),
        // r11 and the instruction of the interrupted leaf, which is on another stack, further in.
        (8 + 64, STACK - 4096),
        (8 + 160, STACK - 8192),
        (8 + 168, code(2)),
    ]);
    fake.memory.insert(STACK - 4096, code(3));
    let mut walk = start(X86, code(0));
    assert_eq!(fake.run(X86, &mut walk), Step::End(ResultCode::Complete));
    assert_eq!(fake.frames[2], code(2) | FRAME_IS_EXACT);
}

#[test]
fn unknown_code_is_left_by_its_frame_pointer_and_marked() {
    let mut fake = Fake::new(&[cfa(7, 8), ROOT]).stack(&[
        (32, STACK + 96),
        (40, GENERATED + 64),
        (96, 0),
        (104, code(1)),
    ]);
    let mut walk = start(X86, GENERATED + 16);
    walk.set(6, STACK + 32);
    assert_eq!(fake.run(X86, &mut walk), Step::End(ResultCode::FramePointers));
    let marked = |frame| frame | FRAME_BY_POINTER;
    assert_eq!(
        fake.frames,
        [(GENERATED + 16) | FRAME_IS_EXACT, marked(GENERATED + 64), marked(code(1))]
    );
}

#[test]
fn a_frame_pointer_that_leads_nowhere_adds_no_frame() {
    for (fp, ra) in [(STACK + 32, 0x1234_5678), (STACK + 33, code(0)), (STACK - 8, code(0))] {
        let mut fake = Fake::new(&[ROOT]).stack(&[(32, 0), (40, ra), (33, 0), (41, ra)]);
        fake.memory.extend([(STACK - 8, 0), (STACK, code(0))]);
        let mut walk = start(X86, GENERATED + 16);
        walk.set(6, fp);
        assert_eq!(fake.run(X86, &mut walk), Step::End(ResultCode::NoUnwindInfo), "{fp:#x}");
        assert_eq!(fake.frames.len(), 1);
    }
}

#[test]
fn the_outermost_function_returns_to_zero_or_has_no_frame_pointer() {
    let mut fake = Fake::new(&[cfa(7, 8)]).stack(&[(0, 0)]);
    assert_eq!(fake.run(X86, &mut start(X86, code(0))), Step::End(ResultCode::Complete));
    let mut fake = Fake::new(&[SWITCHES]);
    let mut walk = start(X86, code(0));
    walk.set(6, 0);
    assert_eq!(fake.run(X86, &mut walk), Step::End(ResultCode::Complete));
}

#[test]
fn a_frame_pointer_may_lead_to_another_stack() {
    // Far below, where a caller's frame on the same stack could not be.
    const OTHER: u64 = STACK - 0x7000_0000;
    let mut fake = Fake::new(&[cfa(7, 16), SWITCHES, cfa(7, 8), ROOT]).stack(&[(8, code(1))]);
    fake.memory.extend([(OTHER, 77), (OTHER + 8, code(2)), (OTHER + 16, code(3))]);
    let mut walk = start(X86, code(0));
    walk.set(6, OTHER);
    assert_eq!(fake.run(X86, &mut walk), Step::End(ResultCode::Complete));
    assert_eq!(fake.frames, [code(0) | FRAME_IS_EXACT, code(1), code(2), code(3)]);
}

#[test]
fn what_cannot_be_gives_its_reason() {
    let end = |rules: &[Rule], stack: &[(u64, u64)]| {
        Fake::new(rules).stack(stack).run(X86, &mut start(X86, code(0)))
    };
    // Not further out; further out than any stack; not there; no code.
    assert_eq!(end(&[cfa(7, 0)], &[]), Step::End(ResultCode::BadFrame));
    assert_eq!(end(&[cfa(7, 1 << 30)], &[]), Step::End(ResultCode::UserUnreadable));
    assert_eq!(end(&[cfa(7, i32::MIN)], &[]), Step::End(ResultCode::BadFrame));
    assert_eq!(end(&[cfa(7, 32)], &[]), Step::End(ResultCode::UserUnreadable));
    assert_eq!(end(&[cfa(7, 32)], &[(24, 0x99)]), Step::End(ResultCode::NoMapping));
    let stop = |reason| end(&[Rule::stop(reason)], &[]);
    assert_eq!(stop(StopReason::Unsupported), Step::End(ResultCode::UnsupportedRule));
    assert_eq!(stop(StopReason::Damaged), Step::End(ResultCode::BadUnwindInfo));
    // A kind of rule that this version does not know.
    let future = Rule { kind: 200, ..ROOT };
    assert!(matches!(end(&[future], &[]), Step::End(_)));
}

#[test]
fn a_missing_table_leaves_the_walk_where_it_can_go_on() {
    let mut fake = Fake::new(&[cfa(7, 16), ROOT]).stack(&[(8, PENDING + 5)]);
    let mut walk = start(X86, code(0));
    assert_eq!(fake.run(X86, &mut walk), Step::Missing);
    assert_eq!((fake.frames.len(), walk.ip), (1, PENDING + 5));
}

#[test]
fn a_deep_stack_is_cut() {
    let mut fake = Fake::new(&[cfa(7, 8)]);
    fake.room = 100;
    fake.memory.extend((0..200).map(|frame| (STACK + 8 * frame, code(0))));
    assert_eq!(fake.run(X86, &mut start(X86, code(0))), Step::End(ResultCode::UserTruncated));
    assert_eq!(fake.frames.len(), 100);
}

#[test]
fn arm64_has_return_addresses_in_a_register_and_signed() {
    let leaf = Rule {
        cfa_register: 31,
        fp_ra: Rule::fp_ra(FpRule::Same, RaRule::InLinkRegister),
        ..Rule::plain(RuleKind::Cfa)
    };
    let frame = Rule {
        cfa_register: 31,
        fp_ra: Rule::fp_ra(FpRule::AtCfa, RaRule::AtCfa),
        fp_offset: -4,
        ra_offset: -3,
        cfa_offset: 32,
        ..Rule::plain(RuleKind::Cfa)
    };
    let signed = 0x0055_0000_0000_0000 | code(2);
    let mut fake = Fake::new(&[leaf, frame, leaf]).stack(&[(8, signed)]);
    let mut walk = start(ARM, code(0));
    walk.set(30, code(1));
    // The third frame claims to be a leaf, which only the innermost one can be.
    assert_eq!(fake.run(ARM, &mut walk), Step::End(ResultCode::RegisterLost));
    assert_eq!(fake.frames, [code(0) | FRAME_IS_EXACT, code(1), code(2)]);
}

#[test]
fn the_row_that_holds_an_address_is_found() {
    // Rules 0 to 3 of which only the number matters, then one granule with one rule, one with rows.
    let rules: Vec<Rule> = (0..4).map(|number| cfa(7, 8 * (number + 1))).collect();
    let mut words: Vec<u32> = rules.iter().flat_map(|rule| rule.to_words()).collect();
    words.extend([IndexWord::whole(3).0, IndexWord::rows(0, 4).0]);
    let lows = [(0, 1), (1, 2), (0x7f, 0), (0xff, 3)];
    words.extend(lows.map(|(low, rule)| Row::new(low, rule).0));
    let mut fake = Fake::with(words, 16, 18, 2);
    for low in 0..=255_u64 {
        assert_eq!(rule_at(&mut fake, low), Some(rules[3]));
        let expected = lows.iter().rfind(|(first, _)| u64::from(*first) <= low).unwrap().1;
        assert_eq!(rule_at(&mut fake, 256 + low), Some(rules[expected as usize]), "{low}");
    }
    assert_eq!(rule_at(&mut fake, 512), None);
    assert_eq!(rule_at(&mut fake, u64::MAX), None);
    fake.table.first_granule = 2;
    assert_eq!(rule_at(&mut fake, 511), None);
    assert_eq!(rule_at(&mut fake, 512), Some(rules[3]));
}
