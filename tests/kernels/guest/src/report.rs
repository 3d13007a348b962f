//! The lines that the host reads from the serial console.

use std::fmt::Display;

/// Counts checks while it prints them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Prints the outcome of a check: what was found, or what is wrong.
    pub(crate) fn check<T: Display, E: Display>(&mut self, name: &str, outcome: Result<T, E>) {
        match outcome {
            Ok(found) => {
                self.passed += 1;
                println!("CHECK {name} ok {}", one_line(&found));
            }
            Err(error) => {
                self.failed += 1;
                println!("CHECK {name} FAIL {}", one_line(&error));
            }
        }
    }

    /// Prints that this kernel cannot be asked.
    pub(crate) fn skip(&self, name: &str, why: &str) {
        println!("CHECK {name} skip {why}");
    }

    /// Prints what `doctor` says of one feature.
    pub(crate) fn feature(&self, name: &str, status: &str, found: &str) {
        println!("FEATURE {} {status} {}", name.replace(' ', "_"), one_line(&found));
    }

    /// Prints the sum. Whether nothing failed.
    pub(crate) fn finish(self) -> bool {
        println!("RESULT {} {}", self.passed, self.failed);
        self.failed == 0
    }
}

/// The host reads line by line.
fn one_line(text: &impl Display) -> String {
    format!("{text:#}").lines().map(str::trim).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_spoils_the_report() {
        let mut report = Report::default();
        report.check::<_, &str>("a", Ok("fine"));
        assert!(Report { ..report }.finish());
        let mut report = Report::default();
        report.check::<_, &str>("a", Ok("fine"));
        report.check::<&str, _>("b", Err("broken"));
        assert!(!report.finish());
    }

    #[test]
    fn what_has_several_lines_is_printed_as_one() {
        assert_eq!(one_line(&"a\n  b\n"), "a | b");
    }
}
