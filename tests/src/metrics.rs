//! The Prometheus text format, read without the library that writes it.

use std::collections::BTreeMap;

/// One scrape: value by sample name with its labels as written.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    values: BTreeMap<String, f64>,
}

/// The agent's ledger as one scrape shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// Samples that the kernel side took.
    pub taken: u64,
    /// Samples that a collector acknowledged.
    pub delivered: u64,
    /// Samples on their way.
    pub pending: u64,
    /// Samples lost, by reason.
    pub dropped: BTreeMap<String, u64>,
}

// === impl Metrics ===

impl Metrics {
    /// Reads the text of one scrape.
    ///
    /// # Panics
    /// When a line is neither a comment nor a sample.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let values = samples.map(|line| {
            // Labels may contain blanks; the value and an optional timestamp do not.
            let split = line.rfind('}').map_or_else(|| line.find(' '), |at| Some(at + 1));
            let (name, value) =
                line.split_at(split.unwrap_or_else(|| panic!("not a sample: {line}")));
            let value = value.split_whitespace().next().and_then(|value| value.parse().ok());
            (name.to_owned(), value.unwrap_or_else(|| panic!("no value in: {line}")))
        });
        Self { values: values.collect() }
    }

    /// The sum over all label sets of a name; none when the name is not there.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let values: Vec<_> = self.labelled(name).map(|(_, value)| value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The value of the sample of a name that has this label; none when there is none.
    pub fn with_label(&self, name: &str, label_name: &str, value: &str) -> Option<f64> {
        let has = format!("{label_name}=\"{value}\"");
        self.labelled(name).find_map(|(labels, number)| labels.contains(&has).then_some(number))
    }

    /// A count by its name with labels as written.
    pub fn value(&self, sample: &str) -> Option<u64> {
        self.values.get(sample).copied().map(to_whole)
    }

    /// Label text (`{…}` or empty) and value of every sample of a name.
    pub fn labelled<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let samples = self.values.iter();
        samples.filter_map(move |(key, value)| {
            let rest = key.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('{')).then_some((rest, *value))
        })
    }

    /// The agent's ledger.
    ///
    /// # Panics
    /// When one of its metrics is missing.
    pub fn ledger(&self) -> Ledger {
        let whole = |name: &str| {
            let name = format!("fleetprof_agent_samples_{name}");
            to_whole(self.sum(&name).unwrap_or_else(|| panic!("the agent does not export {name}")))
        };
        let dropped = self.labelled("fleetprof_agent_samples_dropped_total");
        let dropped = dropped.map(|(labels, value)| (label(labels, "reason"), to_whole(value)));
        Ledger {
            taken: whole("taken_total"),
            delivered: whole("delivered_total"),
            pending: whole("pending"),
            dropped: dropped.collect(),
        }
    }
}

// === impl Ledger ===

impl Ledger {
    /// Samples lost for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Checks promise 1: every sample is accounted for.
    ///
    /// # Panics
    /// When not.
    pub fn check(&self) {
        let accounted = self.delivered + self.dropped_total() + self.pending;
        assert_eq!(
            self.taken, accounted,
            "taken = delivered + dropped + pending does not hold: {self:?}"
        );
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just before")]
fn to_whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0 && value < 9e15, "not a count: {value}");
    value as u64
}

fn label(labels: &str, name: &str) -> String {
    let start = labels.find(&format!("{name}=\"")).map(|at| at + name.len() + 2);
    let value = start.and_then(|start| labels[start..].split('"').next());
    value.unwrap_or_else(|| panic!("no label {name} in {labels}")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    const TEXT: &str = "# TYPE fleetprof_agent_samples_taken counter\n\
        fleetprof_agent_samples_taken_total 10\n\
        fleetprof_agent_samples_delivered_total 4\n\
        fleetprof_agent_samples_pending 3\n\
        fleetprof_agent_samples_dropped_total{reason=\"ring full\"} 2\n\
        fleetprof_agent_samples_dropped_total{reason=\"rejected\"} 1 1700000000\n\
        # EOF\n";

    #[test]
    fn a_ledger_is_read_with_its_reasons() {
        let ledger = Metrics::parse(TEXT).ledger();
        ledger.check();
        assert_eq!(ledger.dropped["ring full"], 2);
        assert_eq!(ledger.dropped_total(), 3);
    }

    #[test]
    #[should_panic(expected = "does not hold")]
    fn a_ledger_that_loses_a_sample_is_noticed() {
        Metrics::parse(&TEXT.replace("pending 3", "pending 2")).ledger().check();
    }

    #[test]
    fn a_value_is_found_by_its_label() {
        let metrics = Metrics::parse(TEXT);
        let name = "fleetprof_agent_samples_dropped_total";
        assert_eq!(metrics.with_label(name, "reason", "rejected"), Some(1.0));
        assert_eq!(metrics.with_label(name, "reason", "ring"), None);
    }

    #[test]
    fn a_name_is_not_taken_for_its_prefix() {
        assert_eq!(Metrics::parse("ab 1\na 2\n").sum("a"), Some(2.0));
        assert_eq!(Metrics::parse("ab 1\n").sum("a"), None);
    }
}
