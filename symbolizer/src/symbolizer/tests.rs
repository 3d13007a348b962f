use std::{fs, path::PathBuf};

use fleetprof_proto::symbol::{Reason, Symbol};
use tempfile::TempDir;

use super::{Depth, ObjectSource, Symbolizer};
use crate::Options;

/// Listings `0`, `1`, … with one function each, named after the file.
fn listings(count: usize) -> (TempDir, Vec<ObjectSource>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let sources = (0..count).map(|i| {
        let path = dir.path().join(i.to_string());
        fs::write(&path, format!("10 T f{i}\n")).expect("written");
        ObjectSource::Kallsyms { path }
    });
    let sources = sources.collect();
    (dir, sources)
}

fn name(symbols: &[Symbol]) -> &str {
    match symbols {
        [Symbol::Named(lines)] => &lines[0].name,
        other => panic!("expected one name, not {other:?}"),
    }
}

#[test]
fn a_listing_answers_in_the_order_of_the_question() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("kallsyms");
    fs::write(&path, "0 T _text\n20 t _RNvC6_123foo3bar\t[mod]\n").expect("written");
    let source = ObjectSource::Kallsyms { path };
    let symbols = Symbolizer::new(Options::default()).symbolize(&source, &[0x21, 0, 1 << 40]);
    assert_eq!(name(&symbols[..1]), "123foo::bar");
    assert!(matches!(&symbols[0], Symbol::Named(l) if &*l[0].system_name == "_RNvC6_123foo3bar"));
    assert_eq!(name(&symbols[1..2]), "_text");
    assert_eq!(symbols[2], Symbol::Unknown(Reason::NotCovered));
}

#[test]
fn the_least_recently_used_object_goes_first() {
    let (_dir, sources) = listings(4);
    let options = Options { max_objects: 3, ..Options::default() };
    let mut symbolizer = Symbolizer::new(options);
    for i in [0, 1, 2, 0, 3] {
        assert_eq!(name(&symbolizer.symbolize(&sources[i], &[0x10])), format!("f{i}"));
    }
    let kept = |i: usize| symbolizer.objects.contains_key(&(sources[i].clone(), Depth::Full));
    assert_eq!([0, 1, 2, 3].map(kept), [true, false, true, true]);
    assert_eq!(symbolizer.cached_objects(), 3);
}

#[test]
fn memory_bounds_the_cache_but_not_the_object_in_use() {
    let (_dir, sources) = listings(3);
    let mut symbolizer = Symbolizer::new(Options { max_cache_bytes: 1, ..Options::default() });
    for (i, source) in sources.iter().enumerate() {
        assert_eq!(name(&symbolizer.symbolize(source, &[0x10])), format!("f{i}"));
        assert_eq!(symbolizer.cached_objects(), 1);
        assert!(symbolizer.cached_bytes() > 1);
    }
}

#[test]
fn a_replaced_file_is_read_anew() {
    let (dir, sources) = listings(1);
    let mut symbolizer = Symbolizer::new(Options::default());
    assert_eq!(name(&symbolizer.symbolize(&sources[0], &[0x10])), "f0");
    let new = dir.path().join("new");
    fs::write(&new, "10 T another\n").expect("written");
    fs::rename(&new, sources[0].path()).expect("renamed");
    assert_eq!(name(&symbolizer.symbolize(&sources[0], &[0x10])), "another");
    fs::remove_file(sources[0].path()).expect("removed");
    assert_eq!(symbolizer.symbolize(&sources[0], &[0x10]), [Symbol::Unknown(Reason::NoObject)]);
    assert_eq!(symbolizer.cached_objects(), 0);
}

#[test]
fn a_refused_object_is_not_tried_again_until_it_changes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path: PathBuf = dir.path().join("object");
    fs::write(&path, "no object").expect("written");
    let source = ObjectSource::Elf { path };
    let mut symbolizer = Symbolizer::new(Options::default());
    for _ in 0..2 {
        assert_eq!(symbolizer.symbolize(&source, &[1]), [Symbol::Unknown(Reason::BadObject)]);
        assert_eq!(symbolizer.cached_objects(), 1);
    }
    let own = std::env::current_exe().expect("known");
    let new = dir.path().join("new");
    fs::copy(own, &new).expect("copied");
    fs::rename(&new, source.path()).expect("renamed");
    assert_eq!(symbolizer.symbolize(&source, &[u64::MAX]), [Symbol::Unknown(Reason::NotCovered)]);
}
