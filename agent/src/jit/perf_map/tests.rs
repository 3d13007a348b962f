use super::*;

/// Start, size and name of each line.
fn read(parser: &mut PerfMap, bytes: &[u8]) -> (Vec<(u64, u64, String)>, Parsed) {
    let mut seen = Vec::new();
    let parsed = parser.parse(bytes, &mut |record| {
        let Record::Load { start, size, name, time_ns: 0 } = record else { panic!("{record:?}") };
        seen.push((start, size, String::from_utf8_lossy(name).into_owned()));
    });
    (seen, parsed)
}

/// Check names as Node and the JVM write them, prefixes, and that a name keeps its spaces.
#[test]
fn a_line_is_a_function_whose_name_is_kept_as_given() {
    let text = b"3ef414c0 398 RegExp:[{(]\n\
        0x00007f1d4c000100 0x60 [tier4] int Foo.bar(int)\r\n\
        7ffff0000000 1a0   LazyCompile:*foo /app/x.js:12:3 \n";
    let (seen, parsed) = read(&mut PerfMap::default(), text);
    let expected = [
        (0x3ef4_14c0, 0x398, "RegExp:[{(]"),
        (0x7f1d_4c00_0100, 0x60, "[tier4] int Foo.bar(int)"),
        (0x7fff_f000_0000, 0x1a0, "LazyCompile:*foo /app/x.js:12:3"),
    ];
    assert_eq!(seen, expected.map(|(start, size, name)| (start, size, name.to_owned())));
    let all = text.len() as u64;
    assert_eq!(parsed, Parsed { consumed: all, malformed: 0, damaged: false });
}

/// Check that what is no function is left out and counted, and spoils nothing behind it.
#[test]
fn malformed_lines_are_skipped_and_counted() {
    let bad: [&[u8]; 11] = [
        b"hello",
        b"1000",
        b"1000 10",
        b"1000 10 ",
        b"1000 0 nothing",
        b"10x0 10 f",
        b"-1000 10 f",
        b"1000 +10 f",
        b"0x 10 f",
        b"00000000000000001000 10 f",
        b"11112222333344445 10 f",
    ];
    for line in bad {
        let text = [b"1000 10 before\n", line, b"\n\n  \n2000 10 after\n"].concat();
        let (seen, parsed) = read(&mut PerfMap::default(), &text);
        let names: Vec<_> = seen.iter().map(|(_, _, name)| name.as_str()).collect();
        assert_eq!(names, ["before", "after"], "{}", line.escape_ascii());
        assert_eq!((parsed.consumed, parsed.malformed), (text.len() as u64, 1));
    }
}

/// Check that a line is read when it is whole, and then once.
#[test]
fn a_line_that_is_still_written_waits() {
    let text = b"1000 10 first\n2000 10 second\n";
    for cut in 0..text.len() {
        let mut parser = PerfMap::default();
        let (mut seen, parsed) = read(&mut parser, &text[..cut]);
        let consumed = usize::try_from(parsed.consumed).unwrap();
        assert!(consumed == 0 || text[consumed - 1] == b'\n');
        seen.extend(read(&mut parser, &text[consumed..]).0);
        assert_eq!(seen.len(), 2, "cut at {cut}");
    }
}

/// Check that a line without an end is neither kept nor taken for others.
#[test]
fn an_endless_line_costs_one_piece_at_a_time() {
    let mut parser = PerfMap::default();
    let piece = vec![b'7'; MAX_LINE_BYTES + 1];
    let (seen, parsed) = read(&mut parser, &piece);
    assert_eq!((seen.len(), parsed.consumed, parsed.malformed), (0, piece.len() as u64, 1));
    let (seen, parsed) = read(&mut parser, b"1000 10 inside");
    assert_eq!((seen.len(), parsed.consumed, parsed.malformed), (0, 14, 0));
    let (seen, _) = read(&mut parser, b"1000 10 still inside\n1000 10 after\n");
    assert_eq!(seen, [(0x1000, 0x10, "after".to_owned())]);
}
