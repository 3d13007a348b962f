use proptest::prelude::*;

use super::*;

const WIDE: &str = "a_function_with_quite_a_long_name";

fn table() -> Table {
    let mut table = Table::new(&[
        ("CORES", Layout::Number),
        ("FUNCTION", Layout::Flexible(Cut::End)),
        ("FILE", Layout::Optional(Cut::Start)),
    ]);
    table.row(["1.5".to_owned(), "main".to_owned(), "/src/main.rs".to_owned()]);
    table.row(["12.25".to_owned(), WIDE.to_owned(), "/a/b/c.rs".to_owned()]);
    table
}

/// Check that numbers align right, text left, and that a pipe gets everything, without blanks at the
/// ends of lines.
#[test]
fn a_pipe_gets_whole_cells() {
    assert_eq!(
        table().render(Medium::default()),
        "CORES  FUNCTION                           FILE\n  \
         1.5  main                               /src/main.rs\n\
         12.25  a_function_with_quite_a_long_name  /a/b/c.rs\n"
    );
}

/// Check that the optional column gives way first, then goes, and that the last to give is the first.
#[test]
fn a_terminal_gets_lines_that_fit() {
    let mut table = table();
    table.row(["1.0".to_owned(), "f".to_owned(), "/a/rather/long/path/to/a/file.rs".to_owned()]);
    let second = |width| {
        let text = table.render(Medium { width: Some(width), styled: false });
        let line = |index| text.lines().nth(index).unwrap_or_default().to_owned();
        assert!(text.lines().all(|line| text::width(line) <= width), "{text}");
        (line(2), line(3))
    };
    assert_eq!(
        second(60),
        (
            "12.25  a_function_with_quite_a_long_name  /a/b/c.rs".to_owned(),
            "  1.0  f                                  …path/to/a/file.rs".to_owned()
        )
    );
    assert_eq!(
        second(45),
        ("12.25  a_function_with_quite_a_long_name".to_owned(), "  1.0  f".to_owned())
    );
    assert_eq!(second(30).0, "12.25  a_function_with_quite_…");
    assert_eq!(second(10).0, "12.25  a_…");
}

/// Check that only the header is styled, and only where that is understood.
#[test]
fn the_header_is_bold_where_styles_are_understood() {
    let text = table().render(Medium { width: None, styled: true });
    assert!(text.starts_with("\u{1b}[1mCORES"), "{text:?}");
    assert_eq!(text.matches('\u{1b}').count(), 2);
    assert!(!table().render(Medium::default()).contains('\u{1b}'));
}

/// Check that a hostile name cannot break out of its cell.
#[test]
fn control_characters_in_cells_are_replaced() {
    let mut table = Table::new(&[("NAME", Layout::Word)]);
    table.row(["a\u{1b}[2J\nb".to_owned()]);
    assert_eq!(table.render(Medium::default()), "NAME\na�[2J�b\n");
}

/// Check that a table without rows is its header.
#[test]
fn an_empty_table_is_its_header() {
    let table = Table::new(&[("SERVICE", Layout::Word), ("CORES", Layout::Number)]);
    assert_eq!(table.render(Medium::default()), "SERVICE  CORES\n");
}

proptest! {
    /// Check that no line is longer than the terminal, whatever the cells are.
    #[test]
    fn lines_fit_any_terminal(
        rows in prop::collection::vec(("\\PC{0,60}", "\\PC{0,60}"), 0..5),
        width in 0..100_usize,
    ) {
        let mut table =
            Table::new(&[("A", Layout::Number), ("B", Layout::Flexible(Cut::Start))]);
        for (a, b) in rows {
            table.row([a, b]);
        }
        for line in table.render(Medium { width: Some(width), styled: false }).lines() {
            prop_assert!(text::width(line) <= width, "{line:?}");
        }
    }
}
