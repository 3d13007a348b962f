//! Which samples a command is about: a service's name and a selector as typed in, one validated
//! selector out.

use fleetprof_proto::selector::{Selector, SelectorError};

use crate::error::CliError;

/// A validated selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    selector: Selector,
}

// === impl Target ===

impl Target {
    /// From the two optional words `[SERVICE] [SELECTOR]`. A first word that opens a brace is the
    /// selector; no service name that an agent makes up begins like that.
    pub(crate) fn from_words(first: Option<&str>, second: Option<&str>) -> Result<Self, CliError> {
        let (service, selector) = match (first, second) {
            (Some(word), None) if is_selector(word) => (None, Some(word)),
            (Some(word), Some(_)) if is_selector(word) => {
                return Err(CliError::Usage(
                    "the selector comes last and only once: fleetprof COMMAND [SERVICE] [SELECTOR]"
                        .to_owned(),
                ));
            }
            words => words,
        };
        if service == Some("") {
            return Err(CliError::Usage(
                "the service's name is empty; leave it out to look at all services".to_owned(),
            ));
        }
        let mut combined = service.map_or_else(Selector::default, Selector::service);
        if let Some(text) = selector {
            for matcher in parse(text)?.matchers() {
                combined.push(matcher.clone()).map_err(|error| usage(text, &error))?;
            }
        }
        Ok(Self { selector: combined })
    }

    /// From an optional selector.
    pub(crate) fn from_selector(selector: Option<&str>) -> Result<Self, CliError> {
        Self::from_words(None, selector)
    }

    /// The selector as it is sent and shown.
    pub(crate) fn selector(&self) -> String {
        self.selector.to_string()
    }
}

/// Whether a word is a selector rather than a name.
pub(crate) fn is_selector(word: &str) -> bool {
    word.trim_start().starts_with('{')
}

fn parse(text: &str) -> Result<Selector, CliError> {
    Selector::parse(text).map_err(|error| usage(text, &error))
}

fn usage(text: &str, error: &SelectorError) -> CliError {
    let at = match error {
        SelectorError::Syntax { at, .. } | SelectorError::Quoted { at, .. } => Some(*at),
        _ => None,
    };
    // A pointer under the text helps only where the text is one line of visible characters.
    let pointer = at
        .filter(|_| !text.chars().any(char::is_control) && text.len() < 200)
        .map(|at| format!("\n  {text}\n  {}^", " ".repeat(at.saturating_sub(1))))
        .unwrap_or_default();
    CliError::Usage(format!(
        "{error}{pointer}\na selector is Prometheus matchers, quoted for the shell: '{{service=\"checkout\", host=~\"web-.*\"}}'"
    ))
}

#[cfg(test)]
mod tests;
