use std::{path::Path, sync::Arc};

use super::{MAX_STRING_BYTES, Names};

#[test]
fn one_name_is_one_string() {
    let mut names = Names::new(1 << 20);
    let first = names.function("_ZN3foo3barEv");
    let second = names.function("_ZN3foo3barEv");
    assert_eq!((&*first.name, &*first.system_name), ("foo::bar()", "_ZN3foo3barEv"));
    assert!(Arc::ptr_eq(&first.name, &second.name));
    let plain = names.function("main");
    assert!(Arc::ptr_eq(&plain.name, &plain.system_name));
    let file = names.file(Path::new("/src/a.c")).expect("a path");
    assert!(Arc::ptr_eq(&file, &names.file(Path::new("/src/a.c")).expect("a path")));
}

#[test]
fn what_has_no_name_says_so() {
    let mut names = Names::new(1 << 20);
    assert_eq!(&*names.function("").name, "[unknown]");
    assert_eq!(names.file(Path::new("")), None);
}

#[test]
fn huge_names_are_cut_between_characters() {
    let mut names = Names::new(1 << 20);
    let huge = "é".repeat(1 << 20);
    let function = names.function(&format!("x{huge}"));
    assert!(function.name.len() <= MAX_STRING_BYTES && function.name.len() > MAX_STRING_BYTES - 2);
    assert!(names.file(Path::new(&huge)).is_some_and(|file| file.len() <= MAX_STRING_BYTES));
}

#[test]
fn the_table_stays_within_its_limit() {
    let mut names = Names::new(64 << 10);
    for i in 0..10_000 {
        names.function(&format!("function_{i}"));
        names.file(Path::new(&format!("/src/{i}.c")));
        assert!(names.heap_bytes() <= 64 << 10);
    }
    assert_eq!(&*names.function("function_1").name, "function_1");
}
