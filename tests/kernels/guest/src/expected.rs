//! The stack a program is known to have.
//!
//! Written as `PATH=MODE:FRAME,FRAME,…`: MODE is `user` or `kernel`, which samples are looked at (those
//! taken in that mode); the frames are names of functions of PATH, innermost first, and have to be the
//! whole user stack. A frame `...` stands for any number of frames, none included: a list that ends with
//! it says nothing about the outermost ones.

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context as _, bail};

/// Which samples are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Those without kernel frames.
    User,
    /// Those with kernel frames.
    Kernel,
}

/// A program and its stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedStack {
    /// The static executable.
    pub(crate) program: PathBuf,
    /// Which samples are looked at.
    pub(crate) mode: Mode,
    frames: Vec<String>,
}

const ANY: &str = "...";

impl ExpectedStack {
    /// For the names of checks: the program's file name.
    pub(crate) fn name(&self) -> String {
        self.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether these are its user frames, innermost first.
    pub(crate) fn matches(&self, user: &[String]) -> bool {
        let frames: Vec<&str> = self.frames.iter().map(String::as_str).collect();
        matches(&frames, user)
    }

    /// As it was written.
    pub(crate) fn frames(&self) -> String {
        self.frames.join(",")
    }
}

fn matches(expected: &[&str], found: &[String]) -> bool {
    match expected {
        [] => found.is_empty(),
        [ANY] => true,
        [ANY, rest @ ..] => (0..=found.len()).any(|skipped| matches(rest, &found[skipped..])),
        [name, rest @ ..] => {
            found.split_first().is_some_and(|(first, found)| first == name && matches(rest, found))
        }
    }
}

impl FromStr for ExpectedStack {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let usage = || format!("{text:?} is not PATH=MODE:FRAME,FRAME,…");
        let (program, rest) = text.split_once('=').with_context(usage)?;
        let (mode, frames) = rest.split_once(':').with_context(usage)?;
        let mode = match mode {
            "user" => Mode::User,
            "kernel" => Mode::Kernel,
            _ => bail!("{}; MODE is user or kernel", usage()),
        };
        let frames: Vec<String> = frames.split(',').map(str::to_owned).collect();
        if frames.iter().any(String::is_empty) {
            bail!("{}; a frame has no name", usage());
        }
        Ok(Self { program: program.into(), mode, frames })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(expected: &str, found: &[&str]) -> bool {
        let stack: ExpectedStack = format!("/p=user:{expected}").parse().unwrap();
        stack.matches(&found.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_list_is_the_whole_stack() {
        assert!(fits("leaf,main", &["leaf", "main"]));
        assert!(!fits("leaf,main", &["leaf", "main", "_start"]));
        assert!(!fits("leaf,main", &["leaf"]));
        assert!(!fits("leaf,main", &["main", "leaf"]));
        assert!(!fits("leaf,main", &[]));
    }

    #[test]
    fn dots_stand_for_any_number_of_frames() {
        assert!(fits("leaf,main,...", &["leaf", "main"]));
        assert!(fits("leaf,main,...", &["leaf", "main", "?", "?"]));
        assert!(fits("leaf,...,_start", &["leaf", "main", "?", "_start"]));
        assert!(!fits("leaf,...,_start", &["leaf", "main"]));
        assert!(!fits("leaf,main,...", &["leaf", "?", "main"]));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "/p", "/p=user", "/p=idle:main", "/p=user:", "/p=user:a,,b"] {
            assert!(text.parse::<ExpectedStack>().is_err(), "{text}");
        }
    }
}
