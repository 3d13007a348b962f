//! One state of DWARF's call frame information → one [`Rule`].
//!
//! What a rule cannot say becomes a stop, or a register that is lost, and is counted; never a rule
//! that is almost right.

use crate::expression::{self, Value};
use crate::frames::{Bytes, State};
use crate::stats::{Stats, Unsupported};
use fleetprof_abi::{Architecture, FpRule, LOST, RaRule, Rule, RuleKind, SAME_VALUE, StopReason};
use gimli::{CfaRule, Encoding, Register, RegisterRule, UnwindExpression, UnwindSection};

/// What a state is seen with.
pub(crate) struct Converter<'s, S> {
    pub(crate) architecture: Architecture,
    pub(crate) section: &'s S,
    pub(crate) encoding: Encoding,
    /// The register that stands for the return address.
    pub(crate) return_address: u16,
}

/// How the CFA is found, in numbers that fit a rule.
struct Cfa {
    kind: RuleKind,
    register: u8,
    offset: i32,
}

/// Where the value of a register of the caller is.
enum Place {
    Same,
    AtCfa(i64),
    At(u16, i64),
    In(u16),
    Undefined,
    Unsupported,
}

// === impl Converter ===

impl<'a, S: UnwindSection<Bytes<'a>>> Converter<'_, S> {
    /// The rule for a state.
    pub(crate) fn rule(&self, state: &State, stats: &mut Stats) -> Rule {
        let place = self.place(state, self.return_address);
        if matches!(place, Place::Undefined) {
            return Rule::plain(RuleKind::Root);
        }
        let cfa = match self.cfa(state.cfa()) {
            Ok(cfa) => cfa,
            Err(reason) => {
                stats.count(reason);
                return Rule::stop(StopReason::Unsupported);
            }
        };
        let Some((ra, ra_offset)) = self.return_address(&place) else {
            stats.count(Unsupported::ReturnAddress);
            return Rule::stop(StopReason::Unsupported);
        };
        let place = self.place(state, self.architecture.frame_pointer().into());
        let (fp, fp_offset) = self.frame_pointer(&place).unwrap_or_else(|| {
            if !matches!(place, Place::Undefined) {
                stats.count(Unsupported::FramePointer);
            }
            (FpRule::Lost, 0)
        });
        Rule {
            kind: cfa.kind as u8,
            cfa_register: cfa.register,
            fp_ra: Rule::fp_ra(fp, ra),
            saved: self.architecture.tracked().map(|register| self.saved(state, register, stats)),
            fp_offset,
            ra_offset,
            cfa_offset: cfa.offset,
        }
    }

    fn cfa(&self, rule: &CfaRule<usize>) -> Result<Cfa, Unsupported> {
        let value = match rule {
            CfaRule::RegisterAndOffset { register, offset } => {
                Value::Sum { register: register.0, offset: *offset }
            }
            CfaRule::Expression(expression) => {
                self.expression(expression, None).ok_or(Unsupported::CfaExpression)?
            }
        };
        self.cfa_value(value).ok_or(Unsupported::CfaRange)
    }

    fn cfa_value(&self, value: Value) -> Option<Cfa> {
        Some(match value {
            Value::Sum { register, offset } => Cfa {
                kind: RuleKind::Cfa,
                register: self.register(register)?,
                offset: i32::try_from(offset).ok()?,
            },
            Value::Deref { register, offset, added } => Cfa {
                kind: RuleKind::CfaDeref,
                register: self.register(register)?,
                offset: Rule::deref(i16::try_from(offset).ok()?, i16::try_from(added).ok()?),
            },
            Value::Plt { threshold } if self.architecture == Architecture::X86_64 => Cfa {
                kind: RuleKind::Plt,
                register: self.architecture.stack_pointer(),
                offset: threshold.into(),
            },
            Value::Plt { .. } | Value::Cfa { .. } => return None,
        })
    }

    fn return_address(&self, place: &Place) -> Option<(RaRule, i16)> {
        let link = u16::from(self.architecture.return_address());
        let has_link = self.architecture == Architecture::Aarch64;
        Some(match *place {
            Place::Same if has_link && self.return_address == link => (RaRule::InLinkRegister, 0),
            Place::AtCfa(offset) => (RaRule::AtCfa, words(offset)?),
            Place::At(register, offset) if self.is_frame_pointer(register) => {
                (RaRule::AtFp, words(offset)?)
            }
            Place::In(register) if has_link && register == link => (RaRule::InLinkRegister, 0),
            Place::In(register) => (RaRule::InRegister, self.register(register)?.into()),
            _ => return None,
        })
    }

    fn frame_pointer(&self, place: &Place) -> Option<(FpRule, i16)> {
        Some(match *place {
            Place::Same => (FpRule::Same, 0),
            Place::AtCfa(offset) => (FpRule::AtCfa, words(offset)?),
            Place::At(register, offset) if self.is_frame_pointer(register) => {
                (FpRule::AtFp, words(offset)?)
            }
            _ => return None,
        })
    }

    fn saved(&self, state: &State, register: u8, stats: &mut Stats) -> i8 {
        let offset = match self.place(state, register.into()) {
            Place::Same => return SAME_VALUE,
            Place::Undefined => return LOST,
            Place::AtCfa(offset) => words(offset).and_then(|words| i8::try_from(words).ok()),
            Place::At(..) | Place::In(_) | Place::Unsupported => None,
        };
        offset.filter(|&offset| offset != SAME_VALUE && offset != LOST).unwrap_or_else(|| {
            stats.count(Unsupported::SavedRegister);
            LOST
        })
    }

    fn place(&self, state: &State, register: u16) -> Place {
        match state.register(Register(register)) {
            None | Some(RegisterRule::SameValue) => Place::Same,
            Some(RegisterRule::Undefined) => Place::Undefined,
            Some(RegisterRule::Offset(offset)) => Place::AtCfa(offset),
            Some(RegisterRule::Register(other)) if other.0 == register => Place::Same,
            Some(RegisterRule::Register(other)) => Place::In(other.0),
            Some(RegisterRule::Expression(expression)) => {
                let start = Some(Value::Cfa { offset: 0 });
                match self.expression(&expression, start) {
                    Some(Value::Cfa { offset }) => Place::AtCfa(offset),
                    Some(Value::Sum { register, offset }) => self.at(state, register, offset),
                    _ => Place::Unsupported,
                }
            }
            Some(_) => Place::Unsupported,
        }
    }

    /// Memory at a register: at the CFA, if that is computed from the same register.
    fn at(&self, state: &State, register: u16, offset: i64) -> Place {
        match state.cfa() {
            CfaRule::RegisterAndOffset { register: base, offset: cfa } if base.0 == register => {
                offset.checked_sub(*cfa).map_or(Place::Unsupported, Place::AtCfa)
            }
            _ => Place::At(register, offset),
        }
    }

    fn expression(
        &self,
        expression: &UnwindExpression<usize>,
        start: Option<Value>,
    ) -> Option<Value> {
        expression::evaluate(expression.get(self.section).ok()?, self.encoding, start)
    }

    fn is_frame_pointer(&self, register: u16) -> bool {
        register == u16::from(self.architecture.frame_pointer())
    }

    /// A register whose value a walk has.
    fn register(&self, register: u16) -> Option<u8> {
        let general = match self.architecture {
            Architecture::X86_64 => 16,
            Architecture::Aarch64 => 32,
        };
        u8::try_from(register).ok().filter(|&register| register < general)
    }
}

/// Bytes in units of 8.
fn words(offset: i64) -> Option<i16> {
    if offset % 8 == 0 { i16::try_from(offset / 8).ok() } else { None }
}
