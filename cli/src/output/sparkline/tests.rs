use proptest::prelude::*;

use super::*;

/// Check that the lowest and the highest value get the lowest and the highest bar.
#[test]
fn bars_rise_with_the_values() {
    let values: Vec<_> = (0..8).map(|value| Some(f64::from(value))).collect();
    assert_eq!(draw(&values, 7.0, 80), "▁▂▃▄▅▆▇█");
}

/// Check that a gap in the data stays a gap.
#[test]
fn missing_values_are_gaps() {
    assert_eq!(draw(&[Some(1.0), None, Some(0.0)], 1.0, 80), "█ ▁");
}

/// Check that more values than columns are averaged, gaps apart.
#[test]
fn many_values_share_columns() {
    assert_eq!(draw(&[Some(0.0), Some(2.0), None, Some(2.0)], 2.0, 2), "▅█");
}

/// Check that nothing, no room and a flat zero are drawn without dividing by zero.
#[test]
fn degenerate_curves_are_drawn() {
    assert_eq!(draw(&[], 1.0, 10), "");
    assert_eq!(draw(&[Some(1.0)], 1.0, 0), "");
    assert_eq!(draw(&[Some(0.0), Some(0.0)], 0.0, 10), "▁▁");
}

proptest! {
    /// Check that any numbers at all are drawn within the columns.
    #[test]
    fn any_values_fit(
        values in prop::collection::vec(prop::option::of(any::<f64>()), 0..50),
        top in any::<f64>(),
        columns in 0..60_usize,
    ) {
        prop_assert_eq!(draw(&values, top, columns).chars().count(), columns.min(values.len()));
    }
}
