//! The DWARF expressions that compilers, linkers and assembly authors use, as sums.
//!
//! In: an expression. Out: register + offset, that read from memory, or the formula of a procedure
//! linkage table. Everything else has no rule.

use crate::frames::Bytes;
use gimli::{Encoding, Expression, Operation};

/// What an expression computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Register + offset.
    Sum { register: u16, offset: i64 },
    /// CFA + offset: rules for registers begin with the CFA.
    Cfa { offset: i64 },
    /// The 8 bytes at register + offset, plus something.
    Deref { register: u16, offset: i64, added: i64 },
    /// Stack pointer + 8, and 8 more from byte `threshold` of a stub of 16 bytes on.
    Plt { threshold: u8 },
}

/// Longest expression that is looked at: that of a linkage table has nine operations.
const MAX_OPERATIONS: usize = 12;
const STACK_POINTER: u16 = 7;
const INSTRUCTION_POINTER: u16 = 16;

/// What `expression` computes; `initial` is on the stack before.
pub(crate) fn evaluate(
    expression: Expression<Bytes<'_>>,
    encoding: Encoding,
    initial: Option<Value>,
) -> Option<Value> {
    let mut operations = [const { None }; MAX_OPERATIONS];
    let mut length = 0;
    let mut iterator = expression.operations(encoding);
    while let Some(operation) = iterator.next().ok()? {
        *operations.get_mut(length)? = Some(operation);
        length += 1;
    }
    let operations = operations.get(..length)?;
    plt(operations).or_else(|| sum(operations, initial))
}

type Slot<'a> = Option<Operation<Bytes<'a>>>;

/// sp + 8 + ((ip & 15) >= threshold) << 3, as all linkers write it.
fn plt(operations: &[Slot<'_>]) -> Option<Value> {
    use Operation::{And, Ge, Plus, Shl};
    let [sp, ip, mask, Some(And), limit, Some(Ge), shift, Some(Shl), Some(Plus)] = operations
    else {
        return None;
    };
    let fits = register(sp)? == (STACK_POINTER, 8)
        && register(ip)? == (INSTRUCTION_POINTER, 0)
        && constant(mask)? == 15
        && constant(shift)? == 3;
    let threshold = u8::try_from(constant(limit)?).ok().filter(|&threshold| threshold <= 16)?;
    fits.then_some(Value::Plt { threshold })
}

fn sum(operations: &[Slot<'_>], initial: Option<Value>) -> Option<Value> {
    let mut value = initial;
    // A constant on the stack above the value.
    let mut pending: Option<i64> = None;
    for slot in operations {
        match slot.as_ref()? {
            Operation::RegisterOffset { register, offset, .. } if pending.is_none() => {
                value = Some(Value::Sum { register: register.0, offset: *offset });
            }
            Operation::PlusConstant { value: add } if pending.is_none() => {
                value = Some(value?.plus(i64::try_from(*add).ok()?)?);
            }
            Operation::UnsignedConstant { .. } | Operation::SignedConstant { .. }
                if pending.is_none() && value.is_some() =>
            {
                pending = Some(constant(slot)?);
            }
            Operation::Plus => value = Some(value?.plus(pending.take()?)?),
            Operation::Minus => value = Some(value?.plus(pending.take()?.checked_neg()?)?),
            Operation::Deref { size: 8, space: false, .. } if pending.is_none() => {
                let Some(Value::Sum { register, offset }) = value else { return None };
                value = Some(Value::Deref { register, offset, added: 0 });
            }
            Operation::Nop => {}
            _ => return None,
        }
    }
    if pending.is_some() { None } else { value }
}

fn register(slot: &Slot<'_>) -> Option<(u16, i64)> {
    match slot {
        Some(Operation::RegisterOffset { register, offset, .. }) => Some((register.0, *offset)),
        _ => None,
    }
}

fn constant(slot: &Slot<'_>) -> Option<i64> {
    match slot {
        Some(Operation::UnsignedConstant { value }) => i64::try_from(*value).ok(),
        Some(Operation::SignedConstant { value }) => Some(*value),
        _ => None,
    }
}

// === impl Value ===

impl Value {
    fn plus(self, add: i64) -> Option<Self> {
        Some(match self {
            Self::Sum { register, offset } => {
                Self::Sum { register, offset: offset.checked_add(add)? }
            }
            Self::Cfa { offset } => Self::Cfa { offset: offset.checked_add(add)? },
            Self::Deref { register, offset, added } => {
                Self::Deref { register, offset, added: added.checked_add(add)? }
            }
            Self::Plt { .. } => return None,
        })
    }
}
