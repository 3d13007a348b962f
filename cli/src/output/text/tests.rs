use proptest::prelude::*;

use super::*;

/// Check that an escape sequence in a name arrives as visible characters.
#[test]
fn control_characters_are_replaced() {
    assert_eq!(clean("a\u{1b}[31mb\nc\u{9b}d\u{202e}e"), "a�[31mb�c�d�e");
    assert_eq!(clean("größe::<T>"), "größe::<T>");
}

/// Check that cutting keeps the end that says most.
#[test]
fn long_text_is_cut_at_the_end_asked_for() {
    assert_eq!(cut("alloc::vec::push", 8, Cut::End), "alloc::…");
    assert_eq!(cut("/usr/lib/libc.so", 8, Cut::Start), "…libc.so");
    assert_eq!(cut("<a::B as c::D>::method", 12, Cut::Middle), "<a::B…method");
    assert_eq!(cut("short", 5, Cut::End), "short");
    assert_eq!(cut("short", 0, Cut::End), "");
}

/// Check that a wide character is not split over the border.
#[test]
fn wide_characters_count_double() {
    assert_eq!(width("日本"), 4);
    assert_eq!(cut("日本語", 4, Cut::End), "日…");
}

/// Check that a printed command can be pasted.
#[test]
fn arguments_are_quoted_for_the_shell() {
    assert_eq!(shell_quote("checkout.pb.gz"), "checkout.pb.gz");
    assert_eq!(shell_quote("my file"), "'my file'");
    assert_eq!(shell_quote("it's"), r"'it'\''s'");
    assert_eq!(shell_quote(""), "''");
    assert_eq!(shell_quote("~x"), "'~x'");
}

proptest! {
    /// Check that what is cut fits, whatever it is.
    #[test]
    fn cut_text_fits(text in "\\PC{0,40}", columns in 0..50_usize) {
        for side in [Cut::End, Cut::Start, Cut::Middle] {
            prop_assert!(width(&cut(&text, columns, side)) <= columns);
        }
    }

    /// Check that nothing harmful survives.
    #[test]
    fn clean_text_has_no_controls(text in any::<String>()) {
        prop_assert!(!clean(&text).chars().any(char::is_control));
    }
}
