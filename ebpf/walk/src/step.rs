// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! From one frame to its caller.

use fleetprof_abi::{
    Architecture, FpRule, LOST, RaRule, ResultCode, Rule, RuleKind, SAME_VALUE, StopReason,
};

use crate::{Machine, Place, Walk, rule_at, signal};

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The walk is at the caller.
    Caller,
    /// The walk is over.
    End(ResultCode),
    /// The table of this frame's code is not there yet: the walk can go on from here when it is.
    /// The frame was not handed out.
    Missing,
}

/// Frames further apart than this are not believed to belong to one stack.
const MAX_FRAME_BYTES: u64 = 1 << 30;

/// Hands out the frame that the walk has reached, and goes to its caller.
#[inline(always)]
pub fn step(architecture: Architecture, walk: &mut Walk, machine: &mut impl Machine) -> Step {
    let place = machine.find(walk.lookup());
    match place {
        Place::Missing => return Step::Missing,
        // Where a frame pointer of unknown code led astray, nothing is handed out.
        Place::Nowhere if walk.by_pointer != 0 => return Step::End(ResultCode::NoUnwindInfo),
        _ => {}
    }
    if !machine.push(walk.frame()) {
        return Step::End(ResultCode::UserTruncated);
    }
    let rule = match place {
        Place::Table(position) => rule_of(machine, position),
        Place::Unknown => Rule::plain(RuleKind::Unknown),
        Place::Nowhere | Place::Missing => return Step::End(ResultCode::NoMapping),
    };
    match follow(architecture, &rule, walk, machine) {
        Ok(()) => Step::Caller,
        Err(end) => Step::End(end),
    }
}

/// The rule for a position of the current table.
#[inline(always)]
fn rule_of(machine: &mut impl Machine, position: u64) -> Rule {
    if let Some(rule) = machine.remembered(position) {
        return rule;
    }
    let rule = rule_at(machine, position).unwrap_or(Rule::plain(RuleKind::Unknown));
    machine.remember(position, &rule);
    rule
}

/// Goes to the caller by a rule.
#[inline(always)]
fn follow(
    architecture: Architecture,
    rule: &Rule,
    walk: &mut Walk,
    machine: &mut impl Machine,
) -> Result<(), ResultCode> {
    const CFA: u8 = RuleKind::Cfa as u8;
    const DEREF: u8 = RuleKind::CfaDeref as u8;
    const PLT: u8 = RuleKind::Plt as u8;
    const ROOT: u8 = RuleKind::Root as u8;
    const SIGNAL: u8 = RuleKind::Signal as u8;
    const POINTER: u8 = RuleKind::FramePointer as u8;
    const UNKNOWN: u8 = RuleKind::Unknown as u8;

    let stack = walk.get(architecture.stack_pointer(), machine).ok_or(ResultCode::RegisterLost)?;
    let offset = i64::from(rule.cfa_offset) as u64;
    let cfa = match rule.kind {
        CFA | DEREF | POINTER => {
            let base = walk.get(rule.cfa_register, machine).ok_or(ResultCode::RegisterLost)?;
            // By convention the outermost frame's is 0.
            if rule.kind == POINTER && base == 0 {
                return Err(root(walk));
            }
            if rule.kind != DEREF {
                base.wrapping_add(offset)
            } else {
                let at = base.wrapping_add(i64::from(rule.deref_offset()) as u64);
                let read = machine.read(at).ok_or(ResultCode::UserUnreadable)?;
                read.wrapping_add(i64::from(rule.deref_added()) as u64)
            }
        }
        PLT if walk.ip & 15 >= offset => stack.wrapping_add(16),
        PLT => stack.wrapping_add(8),
        ROOT => return Err(root(walk)),
        SIGNAL => return signal::follow(architecture, stack, walk, machine),
        UNKNOWN => return follow_pointer(architecture, stack, walk, machine),
        _ => return Err(stop(rule.cfa_offset)),
    };
    leave(architecture, rule, stack, cfa, walk, machine)
}

/// Restores the caller's registers, the frame's CFA being known.
#[inline(always)]
fn leave(
    architecture: Architecture,
    rule: &Rule,
    stack: u64,
    cfa: u64,
    walk: &mut Walk,
    machine: &mut impl Machine,
) -> Result<(), ResultCode> {
    const RA_IN_LINK_REGISTER: u8 = RaRule::InLinkRegister as u8;
    const RA_IN_REGISTER: u8 = RaRule::InRegister as u8;
    const RA_AT_FP: u8 = RaRule::AtFp as u8;
    const FP_SAME: u8 = FpRule::Same as u8;
    const FP_AT_CFA: u8 = FpRule::AtCfa as u8;
    const FP_AT_FP: u8 = FpRule::AtFp as u8;

    let in_link_register = rule.ra() == RA_IN_LINK_REGISTER;
    let in_register = in_link_register || rule.ra() == RA_IN_REGISTER;
    // A caller's frame lies further out; a function without one has none of its own to leave. Behind a
    // switch it lies on another stack.
    let switches = rule.kind == RuleKind::FramePointer as u8;
    let grows = cfa > stack || (in_register && cfa == stack);
    if !switches && (!grows || cfa - stack > MAX_FRAME_BYTES) {
        return Err(ResultCode::BadFrame);
    }
    let fp = architecture.frame_pointer();
    let ra = if in_register {
        let link = architecture.return_address();
        let register = if in_link_register { link } else { rule.ra_offset as u8 };
        walk.get(register, machine).ok_or(ResultCode::RegisterLost)?
    } else {
        let base = if rule.ra() == RA_AT_FP {
            walk.get(fp, machine).ok_or(ResultCode::RegisterLost)?
        } else {
            cfa
        };
        let address = base.wrapping_add(scaled(rule.ra_offset));
        machine.read(address).ok_or(ResultCode::UserUnreadable)?
    };
    match rule.fp() {
        FP_SAME => {}
        FP_AT_CFA => walk.set_saved(fp, cfa.wrapping_add(scaled(rule.fp_offset))),
        FP_AT_FP => {
            let base = walk.get(fp, machine).ok_or(ResultCode::RegisterLost)?;
            walk.set_saved(fp, base.wrapping_add(scaled(rule.fp_offset)));
        }
        _ => walk.forget(fp),
    }
    note_saved(architecture, rule, cfa, walk);
    arrive(architecture, ra, cfa, walk)
}

/// Notes where the registers are that other frames may be found by.
#[inline(always)]
fn note_saved(architecture: Architecture, rule: &Rule, cfa: u64, walk: &mut Walk) {
    for (register, saved) in architecture.tracked().into_iter().zip(rule.saved) {
        match saved {
            SAME_VALUE => {}
            LOST => walk.forget(register),
            saved => {
                let address = cfa.wrapping_add((i64::from(saved) * 8) as u64);
                walk.set_saved(register, address);
            }
        }
    }
}

/// Tries the frame pointer in code about which nothing is known: at it is the caller's, behind that
/// the return address.
#[inline(always)]
fn follow_pointer(
    architecture: Architecture,
    stack: u64,
    walk: &mut Walk,
    machine: &mut impl Machine,
) -> Result<(), ResultCode> {
    walk.any_by_pointer = 1;
    let fp = walk.get(architecture.frame_pointer(), machine).ok_or(ResultCode::NoUnwindInfo)?;
    // By convention the outermost frame's is 0.
    if fp == 0 {
        return Err(root(walk));
    }
    if fp & 7 != 0 || fp < stack || fp - stack > MAX_FRAME_BYTES {
        return Err(ResultCode::NoUnwindInfo);
    }
    let caller_fp = machine.read(fp).ok_or(ResultCode::NoUnwindInfo)?;
    let ra = machine.read(fp.wrapping_add(8)).ok_or(ResultCode::NoUnwindInfo)?;
    // What the function did with the others is not known.
    walk.known = 0;
    walk.set(architecture.frame_pointer(), caller_fp);
    arrive(architecture, ra, fp.wrapping_add(16), walk)?;
    walk.by_pointer = 1;
    Ok(())
}

/// The walk is at the caller, whose frame pointer and tracked registers it has.
#[inline(always)]
fn arrive(
    architecture: Architecture,
    ra: u64,
    cfa: u64,
    walk: &mut Walk,
) -> Result<(), ResultCode> {
    let ra = match architecture {
        Architecture::X86_64 => ra,
        // Signed pointers have a code in the bits that addresses do not use.
        Architecture::Aarch64 => ra & 0x0000_ffff_ffff_ffff,
    };
    // By convention the outermost function returns to address 0.
    if ra == 0 {
        return Err(root(walk));
    }
    // What a callee may change is still there when it is the interrupted one: hand-written code finds
    // its frame by such a register while it calls a part of itself that leaves it alone.
    let innermost = 0_u32.wrapping_sub(walk.exact & 1) & !(1 << architecture.return_address());
    walk.known &= Walk::preserved(architecture) | innermost;
    walk.set(architecture.stack_pointer(), cfa);
    walk.ip = ra;
    walk.exact = 0;
    walk.by_pointer = 0;
    Ok(())
}

/// How a walk that reached its root ends.
#[inline(always)]
fn root(walk: &Walk) -> ResultCode {
    if walk.any_by_pointer != 0 { ResultCode::FramePointers } else { ResultCode::Complete }
}

#[inline(always)]
fn stop(reason: i32) -> ResultCode {
    const UNSUPPORTED: i32 = StopReason::Unsupported as i32;
    if reason == UNSUPPORTED { ResultCode::UnsupportedRule } else { ResultCode::BadUnwindInfo }
}

#[inline(always)]
fn scaled(offset: i16) -> u64 {
    (i64::from(offset) * 8) as u64
}
