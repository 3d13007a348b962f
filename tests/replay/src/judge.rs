//! Who is right where we and perf differ: gdb, on the same registers and stack bytes.

use anyhow::Result;
use fleetprof_abi::ResultCode;
use fleetprof_walk::FRAME_BY_POINTER;

use crate::{
    capture::{Capture, TruePlace, mapping_of},
    gdb,
    machine::Walked,
    objects::Objects,
    run,
};

/// What became of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// perf has the same frames, and we reached the root.
    Equal,
    /// gdb has the same frames, perf has not, and we reached the root.
    PerfDiffers,
    /// perf or gdb has the same frames, and the bytes that lead on were not recorded.
    NotRecorded,
    /// perf or gdb has the same frames, and nobody has more.
    NobodyKnowsMore,
    /// gdb knows more than we, but has the same frames as far as we go.
    GdbKnowsMore,
    /// Another frame than gdb has.
    Different,
}

/// A stack, and what became of it.
pub struct Judged {
    /// The stack, with perf's frames.
    pub capture: Capture,
    /// The same with gdb's frames; none when perf's were enough.
    pub by_gdb: Option<Capture>,
    /// Our frames.
    pub walked: Walked,
    /// The verdict.
    pub verdict: Verdict,
}

/// Most stacks of a program that gdb is asked about.
pub const MOST_FOR_GDB: usize = 400;

/// Judges the stacks of one run of a program. Those for which gdb would have to be asked too often
/// are left out.
///
/// # Errors
/// When gdb fails.
pub fn judge(captures: Vec<Capture>, objects: &Objects) -> Result<Vec<Judged>> {
    let mut judged: Vec<Judged> = captures
        .into_iter()
        .map(|mut capture| {
            drop_nothing(&mut capture);
            let walked = run::run(&capture, objects);
            let is_equal = run::is_equal(&capture, &walked) && is_whole(walked.end);
            let verdict = if is_equal { Verdict::Equal } else { Verdict::Different };
            Judged { capture, by_gdb: None, walked, verdict }
        })
        .collect();
    let mut asked = 0;
    judged.retain(|one| {
        asked += usize::from(one.verdict != Verdict::Equal);
        one.verdict == Verdict::Equal || asked <= MOST_FOR_GDB
    });
    // Processes of one program have other addresses each.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for number in (0..judged.len()).filter(|number| judged[*number].verdict != Verdict::Equal) {
        let same = |group: &&mut Vec<usize>| {
            judged[group[0]].capture.mappings == judged[number].capture.mappings
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(number),
            None => groups.push(vec![number]),
        }
    }
    for group in groups {
        let captures: Vec<&Capture> = group.iter().map(|number| &judged[*number].capture).collect();
        let truths = gdb::frames(&captures)?;
        for (number, truth) in group.into_iter().zip(truths) {
            let one = &mut judged[number];
            let mut by_gdb = Capture { truth, ..one.capture.clone() };
            drop_guesses(&mut by_gdb);
            one.verdict = verdict(&one.capture, &by_gdb, &inside_code(&one.walked));
            one.by_gdb = Some(by_gdb);
        }
    }
    Ok(judged)
}

fn verdict(by_perf: &Capture, by_gdb: &Capture, walked: &Walked) -> Verdict {
    let whole = is_whole(walked.end);
    let as_gdb = run::equal_frames(by_gdb, walked);
    let all_of_ours = as_gdb == walked.frames.len();
    if whole && run::is_equal(by_gdb, walked) {
        Verdict::PerfDiffers
    } else if all_of_ours && by_gdb.truth.len() > as_gdb {
        Verdict::GdbKnowsMore
    } else if whole
        || !(all_of_ours || run::is_equal(by_perf, walked) || ends_unknown(by_gdb, walked))
    {
        Verdict::Different
    } else if walked.missed {
        Verdict::NotRecorded
    } else {
        Verdict::NobodyKnowsMore
    }
}

/// The walk without the address in no code at which it ended: gdb's are left out, too.
fn inside_code(walked: &Walked) -> Walked {
    let mut walked = walked.clone();
    if walked.end == ResultCode::NoMapping {
        walked.frames.pop();
    }
    walked
}

/// Whether we have one frame more than gdb, and then at most what rests on a guess, where the walk has met
/// code without unwind information or memory that was not recorded: gdb hands out a frame only when it can
/// tell the next.
fn ends_unknown(by_gdb: &Capture, walked: &Walked) -> bool {
    let as_gdb = run::equal_frames(by_gdb, walked);
    let unknown = matches!(walked.end, ResultCode::NoUnwindInfo | ResultCode::FramePointers);
    // Whatever was found behind a guess is no better than that.
    let next = walked.frames.get(as_gdb + 1);
    (unknown || walked.missed)
        && as_gdb == by_gdb.truth.len()
        && next.is_none_or(|frame| frame & FRAME_BY_POINTER != 0)
}

/// Whether a walk reached the root, or as many frames as there may be.
#[must_use]
pub fn is_whole(end: ResultCode) -> bool {
    matches!(end, ResultCode::Complete | ResultCode::UserTruncated)
}

/// perf hands out a frame at 0 − 1 when it could not read the next return address: none.
fn drop_nothing(capture: &mut Capture) {
    if let Some(last) = capture.truth.last()
        && matches!(last.place, TruePlace::Position(u64::MAX, _))
    {
        capture.truth.pop();
    }
}

/// Where there is no unwind information, gdb guesses: what lies outside of all code is none.
pub fn drop_guesses(capture: &mut Capture) {
    let outside = capture.truth.iter().position(|frame| match frame.place {
        TruePlace::Address(address, _) => mapping_of(&capture.mappings, address).is_none(),
        TruePlace::Position(..) => false,
    });
    capture.truth.truncate(outside.unwrap_or(capture.truth.len()));
}
