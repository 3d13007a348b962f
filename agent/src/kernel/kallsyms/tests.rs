use proptest::prelude::*;

use super::*;

fn listing(range: Range<u64>, module: Option<&[u8]>, lines: &str) -> String {
    let mut listing = Listing::new(range, module);
    lines.as_bytes().split(|b| *b == b'\n').filter_map(Symbol::parse).for_each(|s| listing.add(&s));
    String::from_utf8(listing.finish()).unwrap()
}

/// Check lines of the image, of a module, and of nothing.
#[test]
fn lines_are_read() {
    let symbol = Symbol::parse(b"ffffffff81000000 T _stext").unwrap();
    assert_eq!(
        (symbol.address, symbol.kind, symbol.name),
        (0xffff_ffff_8100_0000, b'T', &b"_stext"[..])
    );
    assert_eq!(symbol.module, None);
    let symbol = Symbol::parse(b"ffffffffc0201000 t nft_do_chain\t[nf_tables]").unwrap();
    assert_eq!((symbol.name, symbol.module), (&b"nft_do_chain"[..], Some(&b"nf_tables"[..])));
    for line in [&b""[..], b"x T name", b"1000 TT name", b"1000 T", b"11112222333344445 T name"] {
        assert_eq!(Symbol::parse(line), None, "{}", line.escape_ascii());
    }
}

/// Check that a listing has relative addresses, its own functions only, and the data that ends them.
#[test]
fn a_listing_is_relative_and_its_own() {
    let lines = "0 A percpu\n1000 T _text\n1010 t first\n1020 d data\n1030 d more\n1040 W last\n\
                 9000 T outside\n1050 t other\t[module]\n1060 A absolute";
    let image = listing(0x1000..0x9000, None, lines);
    assert_eq!(image, "0 T _text\n10 t first\n20 d data\n40 W last\n");
    assert_eq!(listing(0x1040..0x2000, Some(b"module"), lines), "10 t other\n");
}

/// Check that what is made here is what the symbolizer reads.
#[test]
fn the_symbolizer_reads_a_listing() {
    let text =
        listing(0x1000..0x9000, None, "1000 T _text\n1010 t first\n1020 d data\n1040 W last");
    let parsed = fleetprof_symbolizer::kallsyms::Kallsyms::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.lookup(0x1f), Some("first"));
    assert_eq!(parsed.lookup(0x20), None);
    assert_eq!(parsed.lookup(0x41), Some("last"));
}

proptest! {
    /// Check that no line makes the parser panic.
    #[test]
    fn any_line_is_survived(line in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _symbol = Symbol::parse(&line);
    }
}
