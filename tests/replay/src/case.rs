//! A recorded stack as a small text file, which needs nothing of the host it was recorded on.
//!
//! ```text
//! about TEXT                      where it comes from
//! truth NAMES                     the unwinders that found these frames on the whole stack
//! architecture x86_64|aarch64
//! register NUMBER VALUE           by DWARF number
//! ip ADDRESS
//! code NAME START END BIAS        address − bias = position in the file
//! row NAME POSITION RULE…         what holds at a position of the file: the fields of a `Rule`
//! stack ADDRESS VALUE…            words of memory
//! frame ADDRESS interrupted|called|guessed FUNCTION
//! end NAME                        the walk's result
//! ```
//!
//! Numbers are hexadecimal, those of rows decimal but for the position. Of the stack the words are
//! kept that were read, and all that look like an address of code or of the stack, by which a walk
//! could be led astray; the rest is data and cannot be read.

use std::{collections::BTreeMap, fmt::Write as _, rc::Rc};

use anyhow::{Context as _, Result, bail};
use fleetprof_abi::{Architecture, ResultCode, Rule};
use fleetprof_walk::{FRAME_BY_POINTER, FRAME_IS_EXACT, frame_address};

use crate::{
    machine::{Code, Walked, walk},
    table_of_rows::table,
};

/// A recorded stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Where it comes from.
    pub about: String,
    /// The unwinders that found the same frames.
    pub truth: String,
    /// The processor.
    pub architecture: Architecture,
    /// Registers by DWARF number.
    pub registers: Vec<(u8, u64)>,
    /// Address of the instruction.
    pub ip: u64,
    /// Code by name.
    pub code: Vec<(String, CodeRange)>,
    /// Rules by name of the code and position.
    pub rows: BTreeMap<(String, u64), Rule>,
    /// Words of memory by address.
    pub stack: BTreeMap<u64, u64>,
    /// The frames, with their marks, and their functions.
    pub frames: Vec<(u64, String)>,
    /// How the walk ends.
    pub end: ResultCode,
}

/// Where code of a file is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRange {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Address − `bias` = position in the file.
    pub bias: u64,
}

const WORDS_IN_LINE: usize = 6;

// === impl Case ===

impl Case {
    /// Walks it.
    #[must_use]
    pub fn replay(&self) -> Walked {
        let mut tables = BTreeMap::new();
        for ((name, position), rule) in &self.rows {
            tables.entry(name).or_insert_with(Vec::new).push((*position, *rule));
        }
        let tables: BTreeMap<_, _> =
            tables.into_iter().map(|(name, rows)| (name, Rc::new(table(&rows)))).collect();
        let code = self.code.iter().map(|(name, range)| Code {
            start: range.start,
            end: range.end,
            bias: range.bias,
            table: tables.get(name).cloned(),
        });
        let code: Vec<Code> = code.collect();
        let memory = |address| self.stack.get(&address).copied();
        walk(self.architecture, &self.registers, self.ip, &code, memory)
    }

    /// The file.
    #[must_use]
    pub fn write(&self) -> String {
        let mut lines = vec![
            format!("about {}", self.about),
            format!("truth {}", self.truth),
            format!("architecture {}", architecture_name(self.architecture)),
        ];
        let registers = self.registers.iter();
        lines.extend(registers.map(|(number, value)| format!("register {number:x} {value:x}")));
        lines.push(format!("ip {:x}", self.ip));
        lines.extend(self.code.iter().map(|(name, range)| {
            format!("code {name} {:x} {:x} {:x}", range.start, range.end, range.bias)
        }));
        let rows = self.rows.iter();
        lines.extend(rows.map(|((name, position), rule)| {
            format!(
                "row {name} {position:x} {}",
                fields(rule).map(|field| field.to_string()).join(" ")
            )
        }));
        lines.extend(self.stack_lines());
        lines.extend(self.frames.iter().map(|(frame, function)| {
            let how = if frame & FRAME_IS_EXACT != 0 {
                "interrupted"
            } else if frame & FRAME_BY_POINTER != 0 {
                "guessed"
            } else {
                "called"
            };
            format!("frame {:x} {how} {function}", frame_address(*frame))
        }));
        lines.push(format!("end {}", self.end.name()));
        lines.join("\n") + "\n"
    }

    fn stack_lines(&self) -> Vec<String> {
        let mut lines: Vec<(u64, usize, String)> = Vec::new();
        for (address, value) in &self.stack {
            match lines.last_mut() {
                Some((next, words, line)) if next == address && *words < WORDS_IN_LINE => {
                    (*next, *words) = (address.wrapping_add(8), *words + 1);
                    // Writing to a string cannot fail.
                    let _ = write!(line, " {value:x}");
                }
                _ => {
                    let line = format!("stack {address:x} {value:x}");
                    lines.push((address.wrapping_add(8), 1, line));
                }
            }
        }
        lines.into_iter().map(|(.., line)| line).collect()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not as [`write`](Self::write) writes it.
    pub fn read(text: &str) -> Result<Self> {
        let mut case = Self {
            about: String::new(),
            truth: String::new(),
            architecture: Architecture::X86_64,
            registers: Vec::new(),
            ip: 0,
            code: Vec::new(),
            rows: BTreeMap::new(),
            stack: BTreeMap::new(),
            frames: Vec::new(),
            end: ResultCode::Complete,
        };
        for line in text.lines() {
            case.line(line).with_context(|| format!("in the line {line:?}"))?;
        }
        Ok(case)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let (key, rest) = line.split_once(' ').context("there is only one word")?;
        let mut words = rest.split(' ');
        let mut word = || words.next().context("a word is missing");
        match key {
            "about" => self.about = rest.to_owned(),
            "truth" => self.truth = rest.to_owned(),
            "architecture" => {
                let known = [Architecture::X86_64, Architecture::Aarch64];
                let found = known.into_iter().find(|known| architecture_name(*known) == rest);
                self.architecture = found.context("unknown processor")?;
            }
            "register" => {
                self.registers.push((u8::from_str_radix(word()?, 16)?, hexadecimal(word()?)?));
            }
            "ip" => self.ip = hexadecimal(word()?)?,
            "code" => {
                let name = word()?.to_owned();
                let mut number = || hexadecimal(word()?);
                let range = CodeRange { start: number()?, end: number()?, bias: number()? };
                self.code.push((name, range));
            }
            "row" => {
                let key = (word()?.to_owned(), hexadecimal(word()?)?);
                let fields = words.map(str::parse).collect::<Result<Vec<i32>, _>>()?;
                self.rows.insert(key, rule(&fields).context("not the fields of a rule")?);
            }
            "stack" => {
                let mut address = hexadecimal(word()?)?;
                for value in words {
                    self.stack.insert(address, hexadecimal(value)?);
                    address = address.wrapping_add(8);
                }
            }
            "frame" => {
                let address = hexadecimal(word()?)?;
                let mark = match word()? {
                    "interrupted" => FRAME_IS_EXACT,
                    "guessed" => FRAME_BY_POINTER,
                    "called" => 0,
                    other => bail!("unknown kind of frame {other:?}"),
                };
                let function = words.collect::<Vec<_>>().join(" ");
                self.frames.push((address | mark, function));
            }
            "end" => {
                let end = ResultCode::ALL.iter().find(|code| code.name() == rest);
                self.end = *end.context("unknown result")?;
            }
            _ => bail!("unknown kind of line"),
        }
        Ok(())
    }
}

fn architecture_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Aarch64 => "aarch64",
    }
}

fn hexadecimal(text: &str) -> Result<u64> {
    Ok(u64::from_str_radix(text, 16)?)
}

fn fields(rule: &Rule) -> [i32; 11] {
    let [a, b, c, d, e] = rule.saved.map(i32::from);
    let (fp, ra) = (i32::from(rule.fp_offset), i32::from(rule.ra_offset));
    let kind = [rule.kind, rule.cfa_register, rule.fp_ra].map(i32::from);
    [kind[0], kind[1], rule.cfa_offset, kind[2], fp, ra, a, b, c, d, e]
}

fn rule(fields: &[i32]) -> Option<Rule> {
    let [kind, cfa_register, cfa_offset, fp_ra, fp_offset, ra_offset, saved @ ..] = fields else {
        return None;
    };
    let saved = saved.iter().map(|field| i8::try_from(*field).ok()).collect::<Option<Vec<_>>>()?;
    Some(Rule {
        kind: u8::try_from(*kind).ok()?,
        cfa_register: u8::try_from(*cfa_register).ok()?,
        fp_ra: u8::try_from(*fp_ra).ok()?,
        saved: saved.try_into().ok()?,
        fp_offset: i16::try_from(*fp_offset).ok()?,
        ra_offset: i16::try_from(*ra_offset).ok()?,
        cfa_offset: *cfa_offset,
    })
}
