//! `go tool pprof`, the reader that everybody has.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use crate::{machine, process, programs};

/// What `go tool pprof -raw` shows of a file.
#[derive(Debug, Default)]
pub struct Raw {
    /// Sum of each value over all samples.
    pub totals: Vec<i64>,
    /// Number of sample lines.
    pub samples: usize,
    /// Build IDs by file name.
    pub build_ids: BTreeMap<String, String>,
    /// The whole text.
    pub text: String,
}

/// One line of `-top`.
#[derive(Debug)]
pub struct Row {
    /// Own share, 0 to 1.
    pub flat: f64,
    /// Share with everything it calls, 0 to 1.
    pub cumulative: f64,
    /// Name.
    pub function: String,
}

/// Runs `go tool pprof` with arguments; the profiles it keeps go to a temporary folder.
///
/// # Panics
/// When it fails.
pub fn pprof(arguments: &[&str]) -> String {
    let go = machine::tool("go", "run `make setup`, which installs Go");
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut command: Command = process::command(go);
    command.args(["tool", "pprof"]).args(arguments);
    command.env("HOME", home.path()).env("PPROF_TMPDIR", home.path());
    command.env("GOCACHE", programs::go_cache()).env("GOPATH", programs::go_cache());
    process::run(&mut command, Duration::from_secs(120)).success("go tool pprof")
}

/// `-raw` of a file, without symbolizing anything by itself.
///
/// # Panics
/// When Go cannot read it.
pub fn raw(file: &Path) -> Raw {
    let text = pprof(&["-symbolize=none", "-raw", &file.to_string_lossy()]);
    parse_raw(text)
}

/// `-top` of a file (or a URL) for the default sample type, all functions.
///
/// # Panics
/// When Go cannot read it.
pub fn top(source: &str) -> Vec<Row> {
    let text = pprof(&[
        "-symbolize=none",
        "-top",
        "-nodecount=100000",
        "-nodefraction=0",
        "-edgefraction=0",
        source,
    ]);
    parse_top(&text)
}

fn parse_raw(text: String) -> Raw {
    let mut raw = Raw::default();
    let mut section = "";
    for line in text.lines() {
        match line {
            "Samples:" | "Locations" | "Mappings" => section = line,
            _ if section == "Samples:" => {
                // `  1  910000000: 1 2 3 4`; the line of the types and labels have no such numbers.
                let values: Option<Vec<i64>> = line.split_once(": ").and_then(|(values, _)| {
                    values.split_whitespace().map(|v| v.parse().ok()).collect()
                });
                if let Some(values) = values.filter(|values| !values.is_empty()) {
                    raw.samples += 1;
                    raw.totals.resize(values.len(), 0);
                    raw.totals.iter_mut().zip(values).for_each(|(total, value)| *total += value);
                }
            }
            _ if section == "Mappings" => {
                // `1: 0x400000/0x4c5000/0x0 /path build-id [FN]`.
                let fields: Vec<_> = line.split_whitespace().collect();
                if let [_, _, file, build_id, ..] = fields[..] {
                    raw.build_ids.insert(file.to_owned(), build_id.to_owned());
                }
            }
            _ => {}
        }
    }
    raw.text = text;
    raw
}

fn parse_top(text: &str) -> Vec<Row> {
    let rows = text.lines().skip_while(|line| !line.trim_start().starts_with("flat "));
    rows.skip(1)
        .map(|line| {
            let mut fields = line.split_whitespace();
            let mut percent = |skip: usize| {
                let field = fields.nth(skip).unwrap_or_else(|| panic!("not a row of -top: {line}"));
                field.trim_end_matches('%').parse::<f64>().map_or(0.0, |percent| percent / 100.0)
            };
            let (flat, cumulative) = (percent(1), percent(2));
            Row { flat, cumulative, function: fields.collect::<Vec<_>>().join(" ") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{parse_raw, parse_top};

    #[test]
    fn raw_text_gives_totals_and_build_ids() {
        let text = "PeriodType: cpu nanoseconds\nSamples:\nsamples/count cpu/nanoseconds[dflt]\n\
            \x20  91  910: 1 2 3 \n    comm:[a b]\n    1  10: 5 \nLocations\n 1: 0x47da6d M=1 f x.go:1\n\
            Mappings\n1: 0x1/0x2/0x0 /bin/a beef [FN]\n2: 0x3/0x4/0x0 [vdso]  \n";
        let raw = parse_raw(text.to_owned());
        assert_eq!((raw.samples, raw.totals), (2, vec![92, 920]));
        assert_eq!(
            raw.build_ids.into_iter().collect::<Vec<_>>(),
            [("/bin/a".into(), "beef".into())]
        );
    }

    #[test]
    fn top_text_gives_shares_by_function() {
        let rows = parse_top(
            "Type: cpu\n      flat  flat%   sum%        cum   cum%\n\
            \x20    910ms 92.86% 92.86%      950ms 96.94%  a b (inline)\n",
        );
        assert_eq!(rows[0].function, "a b (inline)");
        assert!((rows[0].flat - 0.9286).abs() < 1e-9 && (rows[0].cumulative - 0.9694).abs() < 1e-9);
    }
}
