use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Kallsyms, KallsymsError, LAST_SYMBOL_REACH};

fn parse(listing: &str) -> Kallsyms {
    Kallsyms::parse(listing.as_bytes()).expect("a listing")
}

#[test]
fn an_address_belongs_to_the_symbol_at_or_before_it() {
    let table = parse("10 T first\n30 t second\t[mod]\n20 t middle\n");
    assert_eq!(table.lookup(0xf), None);
    assert_eq!(table.lookup(0x10), Some("first"));
    assert_eq!(table.lookup(0x1f), Some("first"));
    assert_eq!(table.lookup(0x20), Some("middle"));
    assert_eq!(table.lookup(0x30), Some("second"));
}

#[test]
fn a_relative_listing_has_a_symbol_at_zero() {
    let table = parse("0 T _text\n0 T startup_64\n40 T next\n");
    assert_eq!(table.lookup(0), Some("startup_64"));
    assert_eq!(table.lookup(0x3f), Some("startup_64"));
}

#[test]
fn code_is_not_named_after_data() {
    let table = parse("0 T code\n100 D data\n200 T more\n");
    assert_eq!(table.lookup(0xff), Some("code"));
    assert_eq!(table.lookup(0x150), None);
    assert_eq!(table.lookup(0x200), Some("more"));
}

#[test]
fn a_function_wins_over_data_at_the_same_address() {
    assert_eq!(parse("10 d table\n10 t function\n").lookup(0x10), Some("function"));
}

#[test]
fn the_choice_between_aliases_ignores_their_order() {
    let aliases = ["10 t local", "10 T __x64_sys_read", "10 T sys_read", "10 W weak"];
    let forward = parse(&aliases.join("\n"));
    let backward = parse(&aliases.iter().rev().copied().collect::<Vec<_>>().join("\n"));
    assert_eq!(forward.lookup(0x12), Some("sys_read"));
    assert_eq!(backward.lookup(0x12), Some("sys_read"));
}

/// Check with lines of an x86-64 6.18 kernel, in its order. The names are those that perf shows, but
/// for the last four: perf takes whichever stands last, and calls the way out of every interrupt by
/// the mark that ends the code before it.
#[test]
fn aliases_of_a_real_kernel_get_the_name_people_know() {
    for (aliases, expected) in [
        ("t __do_sys_gettid|T __ia32_sys_gettid|T __x64_sys_gettid", "__x64_sys_gettid"),
        ("t __do_sys_vfork|T __ia32_sys_vfork|T __x64_sys_vfork", "__x64_sys_vfork"),
        (
            "t __pfx___do_sys_sync|T __pfx___ia32_sys_sync|T __pfx___x64_sys_sync",
            "__pfx___x64_sys_sync",
        ),
        ("T __pi___x86_return_thunk|T __x86_return_thunk", "__x86_return_thunk"),
        (
            "T __pi___x86_indirect_thunk_rax|T __x86_indirect_thunk_array|T __x86_indirect_thunk_rax",
            "__x86_indirect_thunk_rax",
        ),
        ("t do_compat_epoll_pwait.part.0|t do_epoll_pwait.part.0", "do_epoll_pwait.part.0"),
        ("T arch_ftrace_ops_list_func|T ftrace_ops_list_func", "ftrace_ops_list_func"),
        ("t cpu_show_not_affected|W cpu_show_ghostwrite", "cpu_show_not_affected"),
        ("T memset|T __memset|T __pi_memset", "memset"),
        ("T irq_entries_start|T __irqentry_text_start", "irq_entries_start"),
        (
            "t common_interrupt_return|T swapgs_restore_regs_and_return_to_usermode|T __irqentry_text_end",
            "swapgs_restore_regs_and_return_to_usermode",
        ),
    ] {
        let lines: String = aliases.split('|').map(|alias| format!("40 {alias}\n")).collect();
        assert_eq!(parse(&lines).lookup(0x40), Some(expected), "{aliases}");
    }
}

#[test]
fn absolute_symbols_are_not_places() {
    let table = parse("0 A fixed_percpu_data\n10 T code\n20 a cpu_hw_events\n");
    assert_eq!(table.lookup(0x5), None);
    assert_eq!(table.lookup(0x25), Some("code"));
}

#[test]
fn the_last_symbol_does_not_reach_for_ever() {
    let table = parse("10 T last\n");
    assert_eq!(table.lookup(0x10 + LAST_SYMBOL_REACH - 1), Some("last"));
    assert_eq!(table.lookup(0x10 + LAST_SYMBOL_REACH), None);
    assert_eq!(table.lookup(u64::MAX), None);
}

#[test]
fn other_lines_are_skipped() {
    let junk =
        "\n#\nxyz T a\n+10 T signed\n10 TT b\n10 T\n11111111111111111 T wide\n\u{fffd} T c\n";
    let table = parse(&format!("{junk}20 T good\n"));
    assert_eq!(table.lookup(0x10), None);
    assert_eq!(table.lookup(0x20), Some("good"));
    let mut bytes = b"20 T \xff\xfe\n30 T fine\n".to_vec();
    bytes.extend_from_slice(b"40 T ");
    bytes.extend(std::iter::repeat_n(b'a', 1 << 20));
    let table = Kallsyms::parse(&bytes).expect("a listing");
    assert_eq!(table.lookup(0x20), None);
    assert_eq!(table.lookup(0x30), Some("fine"));
    assert_eq!(table.lookup(0x40), None, "a name of a megabyte is no kernel function");
}

#[test]
fn a_listing_without_functions_is_refused() {
    for listing in ["", "\n\n", "garbage", "0 D data\n", "0 A absolute\n"] {
        let refused = Kallsyms::parse(listing.as_bytes());
        assert!(matches!(refused, Err(KallsymsError::NoSymbols)), "{listing:?}");
    }
}

/// Check against this machine's kernel, made relative as the agent does it: the answer is one of
/// the names that stand at the nearest address at or below.
#[test]
fn agrees_with_the_running_kernel() {
    let listing = std::fs::read_to_string("/proc/kallsyms").expect("readable as root");
    let mut truth: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    let symbols = listing.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((address, words.next()?, words.next()?))
    });
    let all: Vec<_> = symbols.collect();
    let &(base, ..) = all.iter().find(|(_, _, name)| *name == "_text").expect("_text is there");
    assert_ne!(base, 0, "kernel addresses are hidden: run as root with kptr_restrict below 2");
    let mut relative = String::new();
    for &(address, kind, name) in all.iter().rev() {
        if "AaDdBbRrVv".contains(kind) || address < base {
            continue;
        }
        relative.push_str(&format!("{:x} {kind} {name}\n", address - base));
        truth.entry(address - base).or_default().push(name);
    }
    let table = parse(&relative);
    let (&end, _) = truth.last_key_value().expect("symbols");
    let mut checked = 0;
    let mut probe: u64 = 0x9e37_79b9_7f4a_7c15;
    while checked < 20_000 {
        probe = probe.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let address = (probe >> 16) % end;
        let (_, names) = truth.range(..=address).next_back().expect("_text is at 0");
        let found = table.lookup(address).expect("inside the kernel");
        assert!(names.contains(&found), "{address:#x}: {found} is not in {names:?}");
        checked += 1;
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000), address: u64) {
        if let Ok(table) = Kallsyms::parse(&bytes) {
            table.lookup(address);
        }
    }

    #[test]
    fn lookup_is_the_last_start_at_or_before(
        starts in prop::collection::btree_set(0u64..5000, 1..50),
        address in 0u64..6000,
    ) {
        let listing: String = starts.iter().rev().map(|s| format!("{s:x} t f{s}\n")).collect();
        let expected = starts.range(..=address).next_back().map(|s| format!("f{s}"));
        prop_assert_eq!(parse(&listing).lookup(address).map(str::to_owned), expected);
    }
}
