//! A curve in one line: values in, a string of block characters out.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const GAP: char = ' ';

/// Draws values over `columns` characters at most, from 0 (lowest bar) to `top` (full bar). `None`
/// is a gap: no data is not the same as no CPU. Neighbours are averaged where there are more values
/// than columns.
pub(crate) fn draw(values: &[Option<f64>], top: f64, columns: usize) -> String {
    let columns = columns.min(values.len());
    (0..columns)
        .map(|column| {
            // Whole-number borders: every value lands in exactly one column.
            let first = column * values.len() / columns;
            let end = (column + 1) * values.len() / columns;
            mean(&values[first..end]).map_or(GAP, |value| bar(value, top))
        })
        .collect()
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let (sum, number) = values
        .iter()
        .flatten()
        .fold((0.0, 0.0), |(sum, number), value| (sum + value, number + 1.0));
    (number > 0.0).then(|| sum / number)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the indices of BARS before the cast"
)]
fn bar(value: f64, top: f64) -> char {
    let share = if top > 0.0 { (value / top).clamp(0.0, 1.0) } else { 0.0 };
    BARS[(share * 7.0).round() as usize]
}

#[cfg(test)]
mod tests;
