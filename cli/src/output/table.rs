//! Tables for people: columns and rows in, aligned text out.
//!
//! Cells are cleaned here, so that no caller can forget it. Given a width, columns that may shrink do
//! so from right to left until a line fits: what matters most stands first. Without one (a pipe)
//! nothing is cut.

use super::text::{self, Cut};

const GAP: &str = "  ";

/// Columns narrower than this are cut no further: a few letters say nothing.
const NARROWEST: usize = 12;

/// How a column is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Aligned right, never cut.
    Number,
    /// Aligned left, never cut.
    Word,
    /// Aligned left; gives way when the line is too long.
    Flexible(Cut),
    /// Aligned left; gives way before all others and goes where even that is not enough.
    Optional(Cut),
}

/// A table being filled, row by row.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Layout)>,
    rows: Vec<Vec<String>>,
}

/// Where the text goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Medium {
    /// Longest line, columns; `None` where lines may be of any length.
    pub(crate) width: Option<usize>,
    /// Whether escape sequences for style are understood.
    pub(crate) styled: bool,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(columns: &[(&str, Layout)]) -> Self {
        let columns = columns.iter().map(|(name, layout)| (text::clean(name), *layout)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; a missing cell is empty, a cell too many is not shown.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| text::clean(&cell)).collect());
    }

    /// The whole table, one line per row after the header, each ending in a newline.
    pub(crate) fn render(&self, medium: Medium) -> String {
        let mut widths = self.natural_widths();
        if let Some(limit) = medium.width {
            self.shrink(&mut widths, limit);
        }
        let header: Vec<_> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let mut out = String::new();
        for (index, cells) in std::iter::once(&header).chain(&self.rows).enumerate() {
            let line = self.line(cells, &widths);
            let line =
                medium.width.map_or_else(|| line.clone(), |it| text::cut(&line, it, Cut::End));
            if index == 0 && medium.styled {
                out.push_str(&bold(&line));
            } else {
                out.push_str(&line);
            }
            out.push('\n');
        }
        out
    }

    fn natural_widths(&self) -> Vec<Option<usize>> {
        let cells = |index: usize| self.rows.iter().filter_map(move |row| row.get(index));
        self.columns
            .iter()
            .enumerate()
            .map(|(index, (name, _))| {
                let widest = cells(index).map(|cell| text::width(cell)).max().unwrap_or(0);
                Some(widest.max(text::width(name)))
            })
            .collect()
    }

    /// Takes from optional columns, then from flexible ones, until the line fits or none can give
    /// more. A column that goes has width `None`.
    fn shrink(&self, widths: &mut [Option<usize>], limit: usize) {
        for (index, (_, layout)) in self.columns.iter().enumerate().rev() {
            if matches!(layout, Layout::Optional(_)) {
                let excess = line_width(widths).saturating_sub(limit);
                give(&mut widths[index], 0, excess);
                if widths[index].is_some_and(|width| width < NARROWEST) {
                    widths[index] = None;
                }
            }
        }
        for (index, (_, layout)) in self.columns.iter().enumerate().rev() {
            if matches!(layout, Layout::Flexible(_)) {
                let excess = line_width(widths).saturating_sub(limit);
                give(&mut widths[index], NARROWEST, excess);
            }
        }
    }

    fn line(&self, cells: &[String], widths: &[Option<usize>]) -> String {
        let mut line = String::new();
        for (index, ((_, layout), width)) in self.columns.iter().zip(widths).enumerate() {
            let Some(width) = *width else { continue };
            let cell = cells.get(index).map_or("", String::as_str);
            let cell = match layout {
                Layout::Number | Layout::Word => cell.to_owned(),
                Layout::Flexible(side) | Layout::Optional(side) => text::cut(cell, width, *side),
            };
            let padding = " ".repeat(width.saturating_sub(text::width(&cell)));
            if index > 0 {
                line.push_str(GAP);
            }
            let (left, right) =
                if *layout == Layout::Number { (&padding, &cell) } else { (&cell, &padding) };
            line.push_str(left);
            line.push_str(right);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Width of a line of these columns.
fn line_width(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten().count();
    widths.iter().flatten().sum::<usize>() + GAP.len() * shown.saturating_sub(1)
}

/// Makes a column narrower by at most `excess`, but not narrower than `floor`.
fn give(width: &mut Option<usize>, floor: usize, excess: usize) {
    if let Some(width) = width {
        *width -= excess.min(width.saturating_sub(floor));
    }
}

/// Wraps a text in the escape sequences for bold.
pub(crate) fn bold(text: &str) -> String {
    format!("\u{1b}[1m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests;
