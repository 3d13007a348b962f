//! The expected names are what binutils 2.40 says (`c++filt -s dlang`), unless a test says otherwise.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::demangle;

/// Pairs of a mangled name and its meaning.
const KNOWN: &[(&str, &str)] = &[
    ("_Dmain", "D main"),
    ("_D3foo1aOxi", "foo.a"),
    ("_D3foo0003bari", "foo.bar"),
    ("_D3foo3barFiZv", "foo.bar(int)"),
    ("_D3foo3barMxFZv", "foo.bar() const"),
    ("_D3foo3barMOxFZv", "foo.bar() shared const"),
    ("_D3foo3barMNgFZv", "foo.bar() inout"),
    ("_D3foo6__ctorMFZv", "foo.this()"),
    ("_D3foo6__dtorMFZv", "foo.~this()"),
    ("_D3foo10__postblitMFZv", "foo.this(this)"),
    ("_D3foo3Bar6__initZ", "initializer for foo.Bar"),
    ("_D3foo3Bar6__vtblZ", "vtable for foo.Bar"),
    ("_D3foo3Bar7__ClassZ", "ClassInfo for foo.Bar"),
    ("_D3foo3Bar11__InterfaceZ", "Interface for foo.Bar"),
    ("_D3foo12__ModuleInfoZ", "ModuleInfo for foo"),
    // Types of parameters.
    ("_D3foo1aFHAbaZv", "foo.a(char[bool[]])"),
    ("_D3foo1aFG42aZv", "foo.a(char[42])"),
    ("_D3foo1aFxPOiZv", "foo.a(const(shared(int)*))"),
    ("_D3foo1aFNgiZv", "foo.a(inout(int))"),
    ("_D3foo1aFNhG4fZv", "foo.a(__vector(float[4]))"),
    ("_D3foo1aFB2iiZv", "foo.a(Tuple!(int, int))"),
    ("_D3foo1aFnZv", "foo.a(typeof(null))"),
    ("_D3foo1aFqrcopjzizkZv", "foo.a(cfloat, cdouble, creal, ifloat, idouble, ireal, cent, ucent)"),
    ("_D3foo1aFIKiJiMKiZv", "foo.a(in ref int, out int, scope ref int)"),
    ("_D3foo1aFiXv", "foo.a(int...)"),
    ("_D3foo1aFiYv", "foo.a(int, ...)"),
    ("_D3foo1aFAiXv", "foo.a(int[]...)"),
    ("_D3foo1aUiXv", "foo.a(int...)"),
    // Functions as parameters.
    ("_D3foo1aFPFLAiYiZv", "foo.a(int(lazy int[], ...) function)"),
    ("_D3foo1aFPUiZvZv", "foo.a(extern(C) void(int) function)"),
    ("_D3foo1aFPRiZvZv", "foo.a(extern(C++) void(int) function)"),
    ("_D3foo1aFDxFiZvZv", "foo.a(void(int) delegate const)"),
    ("_D3foo1aFDFNaNbNfAyaZbZv", "foo.a(bool(immutable(char)[]) pure nothrow @safe delegate)"),
    (
        "_D3foo1aFDFNcNdNiNjNlNmiZvZv",
        "foo.a(void(int) ref @property @nogc return scope @live delegate)",
    ),
    // Arguments of templates.
    ("_D3foo__T1aTiTAyaZ1bi", "foo.a!(int, immutable(char)[]).b"),
    ("_D3foo__T1aHTiZ1bi", "foo.a!(int).b"),
    ("_D8__T1aTiZ1bi", "a!(int).b"),
    ("_D3foo__T1aX5abcdeZ1bi", "foo.a!(abcde).b"),
    ("_D3foo__T1aS3foo3barZ1bi", "foo.a!(foo.bar).b"),
    ("_D3foo__T1aVki3Z1bi", "foo.a!(3u).b"),
    ("_D3foo__T1aVmi3Z1bi", "foo.a!(3uL).b"),
    ("_D3foo__T1aVli3Z1bi", "foo.a!(3L).b"),
    ("_D3foo__T1aViN3Z1bi", "foo.a!(-3).b"),
    ("_D3foo__T1aVbi1Z1bi", "foo.a!(true).b"),
    ("_D3foo__T1aVai97Z1bi", "foo.a!('a').b"),
    ("_D3foo__T1aVai10Z1bi", "foo.a!('\\x0a').b"),
    ("_D3foo__T1aVui256Z1bi", "foo.a!('\\u0100').b"),
    ("_D3foo__T1aVwi97Z1bi", "foo.a!('\\U00000061').b"),
    ("_D3foo__T1aVyai97Z1bi", "foo.a!(97).b"),
    ("_D3foo__T1aVde0A8P6Z1bi", "foo.a!(0x0.A8p6).b"),
    ("_D3foo__T1aVdeN0A8PN6Z1bi", "foo.a!(-0x0.A8p-6).b"),
    ("_D3foo__T1aVdeNANZ1bi", "foo.a!(NaN).b"),
    ("_D3foo__T1aVcc0A8P6c0A8P6Z1bi", "foo.a!(0x0.A8p6+0x0.A8p6i).b"),
    ("_D3foo__T1aVAyaa3_616263Z1bi", "foo.a!(\"abc\").b"),
    ("_D3foo__T1aVAyaa3_61620aZ1bi", "foo.a!(\"ab\\n\").b"),
    ("_D3foo__T1aVAyww3_616263Z1bi", "foo.a!(\"abc\"w).b"),
    ("_D3foo__T1aVAiA2i1i2Z1bi", "foo.a!([1, 2]).b"),
    ("_D3foo__T1aVHiiA1i1i2Z1bi", "foo.a!([1:2]).b"),
    ("_D3foo__T1aVS3foo1sS2i1i2Z1bi", "foo.a!(foo.s(1, 2)).b"),
    ("_D3foo__T1aVPvnZ1bi", "foo.a!(null).b"),
    // References to what was there before: an identifier, a type.
    ("_D3foo3barQiFAxaQdZv", "foo.bar.foo(const(char)[], const(char)[])"),
    ("_D3foo3barFAxaZ3bazMFQkZv", "foo.bar(const(char)[]).baz(const(char)[])"),
];

#[test]
fn names_are_as_binutils_has_them() {
    for (mangled, expected) in KNOWN {
        assert_eq!(demangle(mangled).as_deref(), Some(*expected), "{mangled}");
    }
}

/// What binutils says of each name.
fn said_by_binutils(names: &[&str]) -> Vec<String> {
    let mut filter = Command::new("c++filt");
    let child = filter.args(["-s", "dlang"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("binutils are installed");
    let (mut stdin, text) = (child.stdin.take().expect("piped"), names.join("\n"));
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).expect("written"));
    let output = child.wait_with_output().expect("ended");
    writer.join().expect("written");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// Check that the expectations are not our own.
#[test]
fn the_expected_names_are_those_of_binutils() {
    let (mangled, expected): (Vec<_>, Vec<_>) = KNOWN.iter().copied().unzip();
    assert_eq!(said_by_binutils(&mangled), expected);
}

/// The figures of ADR 006: `D_LIBRARY=FILE`, where FILE is for example Debian's libphobos2-ldc-shared.so.
#[test]
#[ignore = "needs a library of D programs"]
fn names_of_a_library_are_as_binutils_has_them() {
    let library = std::env::var("D_LIBRARY").expect("D_LIBRARY names a file");
    let symbols = Command::new("nm").args(["-D", &library]).output().expect("binutils");
    let symbols = String::from_utf8(symbols.stdout).expect("text");
    let names = symbols.lines().filter_map(|line| line.rsplit(' ').next());
    let names: Vec<_> = names.filter(|name| name.starts_with("_D")).collect();
    let [mut read, mut same, mut more] = [0; 3];
    for (name, said) in names.iter().zip(said_by_binutils(&names)) {
        let ours = demangle(name);
        if said == *name {
            more += u32::from(ours.is_some());
            continue;
        }
        read += 1;
        same += u32::from(ours.as_ref() == Some(&said));
        if ours.as_ref() != Some(&said) {
            println!("{name}\n  ours: {ours:?}\n  theirs: {said}");
        }
    }
    println!("{} names; binutils reads {read}, {same} alike; we read {more} more", names.len());
    assert!(read > 100 && f64::from(same) >= 0.998 * f64::from(read));
}

/// Check what binutils does not read: copies of functions, thunks, more kinds of parameters.
#[test]
fn more_names_are_read() {
    for (mangled, expected) in [
        ("_D3foo3barFiZv.part.0", "foo.bar(int) [clone .part.0]"),
        ("_DThn16_3foo3barFiZv", "thunk to foo.bar(int)"),
        ("_DTi16_D3foo3barFiZv", "thunk to foo.bar(int)"),
        ("_D3foo3barFNkMAaZv", "foo.bar(return scope char[])"),
        ("_D3foo3barFNnZv", "foo.bar(noreturn)"),
        ("_D3foo3barFDFiZvZ3bazMQk", "foo.bar(void(int) delegate).baz(int)"),
        ("_D3foo10__postblitMOFNaZv", "foo.this(this)"),
    ] {
        assert_eq!(demangle(mangled).as_deref(), Some(expected), "{mangled}");
    }
}

#[test]
fn other_names_stay() {
    for name in [
        "",
        "_D",
        "_Dfoo",
        "_DIRECT",
        "_D3fo",
        "_D3foo",
        "_D3foo3bar",
        "_D3fooQa",
        "_D99999999999999999999foo",
        "_D3foo__T1aTi",
        "_D3fooFZ",
        "_D3fooFiZvv",
        "_D3foo6__init",
        "_DTh",
        "_DTh_3fooi",
        "_D0",
        "_D0Z",
        "_D3foo__T1aVAyaa3_61Z1bi",
        "_D3foo\u{e9}FZv",
    ] {
        assert_eq!(demangle(name), None, "{name}");
    }
}

/// Check that references which unfold, and nesting without end, are given up.
#[test]
fn what_unfolds_is_given_up() {
    // Keys and values of each type are the type before.
    let doubling: String = (0..40).map(|_| "HQgQi".to_owned()).collect();
    assert_eq!(demangle(&format!("_D3foo3barFHiiHQeQg{doubling}Zv")), None);
    assert_eq!(demangle(&format!("_D3foo3barF{}iZv", "A".repeat(5_000))), None);
    assert_eq!(demangle(&format!("_D3foo{}", "__T1aT".repeat(2_000))), None);
    assert_eq!(demangle(&format!("_D3foo__T1aVAiA999999999{}Z1bi", "i1".repeat(10))), None);
}

proptest! {
    /// Names of the characters that mean something, which reach far into the parser.
    #[test]
    fn no_name_is_too_much(name in "_D3foo(3bar|__T1a|[0-9A-Za-z_]|Q[a-z]|F|M|N[a-z]|V|Z){0,200}") {
        let shown = demangle(&name);
        prop_assert!(shown.is_none_or(|it| it.len() <= 2 * crate::demangle::MAX_DEMANGLED_BYTES));
    }

    #[test]
    fn no_text_is_too_much(name in "_D\\PC{0,300}") {
        let _ = demangle(&name);
    }
}
