//! Text from elsewhere made fit for a terminal: cleaned, measured and cut by display width.

use unicode_width::UnicodeWidthChar;

const ELLIPSIS: char = '…';

/// Which end of a text may go when it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Names: the beginning says most.
    End,
    /// Paths: the end says most.
    Start,
    /// Qualified names: `<some::long::Type as other::Trait>::method` needs its end, and
    /// `function(arguments…)` its beginning.
    Middle,
}

/// Replaces control characters. Function and service names come from every process of the fleet; one
/// with an escape sequence must not repaint the terminal of whoever looks at it.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// C0 and C1 controls, and the bidirectional overrides that make text read as something else.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns that a text takes on a terminal: character by character, as most terminals do it and as
/// [`cut`] must.
pub(crate) fn width(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// Cuts a text to at most `columns`, with an ellipsis where something went.
pub(crate) fn cut(text: &str, columns: usize, cut: Cut) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let (head, tail) = match cut {
        Cut::End => (room, 0),
        Cut::Start => (0, room),
        Cut::Middle => (room / 2, room - room / 2),
    };
    let start: String = fitting(text.chars(), head).collect();
    let end: Vec<char> = fitting(text.chars().rev(), tail).collect();
    start.chars().chain([ELLIPSIS]).chain(end.into_iter().rev()).collect()
}

/// The characters up to a display width.
fn fitting(chars: impl Iterator<Item = char>, columns: usize) -> impl Iterator<Item = char> {
    let mut used = 0;
    chars.take_while(move |c| {
        used += c.width().unwrap_or(0);
        used <= columns
    })
}

/// Quotes an argument for a POSIX shell where it needs it, so that a printed command can be pasted.
pub(crate) fn shell_quote(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
