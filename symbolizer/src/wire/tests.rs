use std::{io, path::PathBuf, sync::Arc};

use fleetprof_proto::symbol::{Line, Reason, Symbol};
use proptest::prelude::*;

use super::{MAX_FRAME_BYTES, Question, REASONS, Reply, WireOptions, receive, send};
use crate::{DebugLinks, ObjectSource, Options, symbolizer::Depth};

fn symbols() -> impl Strategy<Value = Vec<Symbol>> {
    let text = prop::sample::select(
        ["main", "foo::bar()", "é", "", "/src/a.c"].map(Arc::<str>::from).to_vec(),
    );
    let line = (text.clone(), text.clone(), prop::option::of(text), any::<u32>(), any::<u32>())
        .prop_map(|(name, system_name, file, line, column)| Line {
            name,
            system_name,
            file,
            line,
            column,
        });
    let named = prop::collection::vec(line, 1..4).prop_map(Symbol::Named);
    let unknown = prop::sample::select(REASONS.to_vec()).prop_map(Symbol::Unknown);
    prop::collection::vec(prop_oneof![named, unknown], 0..20)
}

proptest! {
    #[test]
    fn replies_arrive_as_they_were_sent(symbols in symbols()) {
        let mut pipe = Vec::new();
        send(&mut pipe, &Reply::new(&symbols)).expect("small");
        let reply: Reply = receive(&mut pipe.as_slice()).expect("whole").expect("one");
        prop_assert_eq!(reply.clone().into_symbols(symbols.len()), Some(symbols.clone()));
        prop_assert_eq!(reply.into_symbols(symbols.len() + 1), None);
    }

    #[test]
    fn any_bytes_are_a_reply_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0usize..4) {
        if let Ok(Some(reply)) = receive::<Reply>(&mut bytes.as_slice()) {
            reply.into_symbols(count);
        }
    }
}

#[test]
fn questions_and_options_arrive_as_they_were_sent() {
    let source = ObjectSource::Kallsyms { path: PathBuf::from("/a b/ü") };
    let question = Question::new(&source, Depth::Tables, &[1, u64::MAX]);
    assert_eq!((question.source(), question.depth()), (source, Depth::Tables));
    let options = Options {
        max_objects: 3,
        debug_links: DebugLinks::Follow(vec![PathBuf::from("/x")]),
        ..Options::default()
    };
    assert_eq!(WireOptions::new(&options).into_options(), options);
}

#[test]
fn a_string_outside_the_table_is_refused() {
    let line = Line { name: "a".into(), system_name: "a".into(), file: None, line: 0, column: 0 };
    let mut reply = Reply::new(&[Symbol::Named(vec![line])]);
    reply.strings.clear();
    assert_eq!(reply.into_symbols(1), None);
}

#[test]
fn reasons_of_other_parts_become_one_of_ours() {
    let reply = Reply::new(&[Symbol::Unknown(Reason::ProcessGone)]);
    assert_eq!(reply.into_symbols(1), Some(vec![Symbol::Unknown(Reason::BadObject)]));
}

#[test]
fn frames_are_bounded_and_whole() {
    let mut claim = u32::try_from(MAX_FRAME_BYTES + 1).expect("fits").to_le_bytes().to_vec();
    claim.push(0);
    let error = receive::<Reply>(&mut claim.as_slice()).expect_err("too large");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let cut = receive::<Reply>(&mut [9, 0, 0, 0, 1].as_slice()).expect_err("cut off");
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(receive::<Reply>(&mut [].as_slice()).expect("the end"), None);
}
