use proptest::prelude::*;

use super::{MAX_DEMANGLED_BYTES, demangle};

#[test]
fn cpp_names_get_their_signature() {
    assert_eq!(demangle("_ZN3foo3barEiRKSs").as_deref(), Some("foo::bar(int, std::string const&)"));
    assert_eq!(demangle("_ZL6staticv").as_deref(), Some("static()"));
    assert_eq!(
        demangle("_ZN12_GLOBAL__N_13runEv").as_deref(),
        Some("(anonymous namespace)::run()")
    );
}

#[test]
fn literals_of_templates_are_short() {
    assert_eq!(demangle("_Z3runR5ArrayIiLj3ELb1EE").as_deref(), Some("run(Array<int, 3, true>&)"));
}

#[test]
fn cpp_clones_keep_their_suffix() {
    let name = demangle("_Z3fooi.part.0").expect("demangles");
    assert!(name.starts_with("foo(int)") && name.contains(".part.0"), "{name}");
}

#[test]
fn rust_legacy_names_lose_their_hash() {
    assert_eq!(
        demangle("_ZN4core3ptr13drop_in_place17h0123456789abcdefE").as_deref(),
        Some("core::ptr::drop_in_place")
    );
    assert_eq!(
        demangle("_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar17h930b740aa94f1d3aE.llvm.8421")
            .as_deref(),
        Some("<Test + 'static as foo::Bar<Test>>::bar")
    );
}

#[test]
fn rust_v0_names_lose_their_hash() {
    assert_eq!(
        demangle("_RNvMNtCs8hGMH3qmCwu_7mycrate3fooNtB2_3Bar3baz").as_deref(),
        Some("<mycrate::foo::Bar>::baz")
    );
    assert_eq!(demangle("_RNvC6_123foo3bar").as_deref(), Some("123foo::bar"));
}

#[test]
fn plain_names_stay() {
    for name in
        ["main", "i", "f", "", "??", "runtime.mallocgc", "main.(*T).Run-fm", "_start", "a@b"]
    {
        assert_eq!(demangle(name), None, "{name}");
    }
}

#[test]
fn broken_mangled_names_stay() {
    for name in ["_Z", "_ZN3fo", "_ZN", "_R", "_RNv", "_ZTI", "_Z3fooi_garbage!"] {
        assert_eq!(demangle(name), None, "{name}");
    }
}

#[test]
fn symbol_versions_are_cut() {
    assert_eq!(demangle("memcpy@@GLIBC_2.14").as_deref(), Some("memcpy"));
    assert_eq!(
        demangle("_ZNSt6thread4joinEv@@GLIBCXX_3.4.11").as_deref(),
        Some("std::thread::join()")
    );
    assert_eq!(demangle("puts@plt"), None);
}

/// Check that a name that doubles with each of its few bytes is given up, not unfolded.
#[test]
fn exponential_names_are_given_up() {
    // T_ is a pair of the previous type with itself, nested.
    let mut name = String::from("_Z1fSt4pairIiiE");
    for depth in 0..28 {
        let previous = match depth {
            0 => "S_".to_owned(),
            n => format!("S{}_", std::char::from_digit(n, 36).unwrap_or('z').to_ascii_uppercase()),
        };
        name.push_str("S_I");
        name.push_str(&previous);
        name.push_str(&previous);
        name.push('E');
    }
    let unfolded = demangle(&name);
    assert!(unfolded.is_none_or(|text| text.len() <= MAX_DEMANGLED_BYTES));
}

/// Check that names with many literals of classes, which are given less depth, have their names while they are flat.
/// That nested ones do no harm is seen in memory: the fuzzer has one (`regressions/symbol-names`).
#[test]
fn many_literals_are_no_harm() {
    let tags: String = (0..20).map(|number| format!("3tagIL4Enum{number}EE")).collect();
    let text: Vec<_> = (0..20).map(|number| format!("tag<{number}>")).collect();
    let name = demangle(&format!("_Z1fI{tags}Evv"));
    assert_eq!(name, Some(format!("void f<{} >()", text.join(", "))));
    assert_eq!(demangle(&format!("_Z1f{}v", "IL1f".repeat(12))), None);
}

#[test]
fn huge_names_are_not_tried() {
    assert_eq!(demangle(&format!("_Z{}", "1a".repeat(1 << 20))), None);
    assert_eq!(demangle(&"_".repeat(1 << 20)), None);
}

proptest! {
    #[test]
    fn no_name_panics_or_unfolds_without_bound(
        prefix in prop::sample::select(vec!["_Z", "_ZN", "_R", "_RNv", "_ZZ", "_ZTV", "_ZNSt", ""]),
        rest in "[A-Za-z0-9_$.@]{0,200}",
    ) {
        if let Some(text) = demangle(&format!("{prefix}{rest}")) {
            prop_assert!(text.len() <= MAX_DEMANGLED_BYTES);
        }
    }
}
