//! Every recorded stack, through the walk: the frames are those that perf or gdb found in it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use fleetprof_replay::case::Case;
use fleetprof_walk::frame_address;

fn cases() -> Result<Vec<(String, Case)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let case = Case::read(&fs::read_to_string(&path)?).with_context(|| name.clone())?;
        cases.push((name, case));
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(cases)
}

#[test]
fn every_recorded_stack_gives_the_frames_of_an_independent_unwinder() -> Result<()> {
    let mut wrong = Vec::new();
    let cases = cases()?;
    for (name, case) in &cases {
        let walked = case.replay();
        let expected: Vec<u64> = case.frames.iter().map(|(frame, _)| *frame).collect();
        if walked.frames == expected && walked.end == case.end {
            continue;
        }
        let equal = walked.frames.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        let at =
            |frames: &[u64]| frames.get(equal).map(|frame| format!("{:#x}", frame_address(*frame)));
        wrong.push(format!(
            "{name}: {} frames of {} are equal, then {:?} instead of {:?}; ends {} instead of {}",
            equal,
            expected.len(),
            at(&walked.frames),
            at(&expected),
            walked.end.name(),
            case.end.name()
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    Ok(())
}

#[test]
fn a_case_is_written_as_it_was_read() -> Result<()> {
    for (name, case) in cases()? {
        assert_eq!(Case::read(&case.write()).with_context(|| name.clone())?, case, "{name}");
    }
    Ok(())
}

#[test]
fn a_changed_word_of_the_stack_is_noticed() -> Result<()> {
    // Each return address of the stack matters: another one gives other frames.
    for (name, case) in cases()? {
        let Some((frame, _)) = case.frames.iter().skip(1).next_back() else { continue };
        let address = frame_address(*frame);
        let mut changed = case.clone();
        changed
            .stack
            .values_mut()
            .filter(|value| **value == address)
            .for_each(|value| *value += 16);
        if changed.stack == case.stack {
            continue;
        }
        let expected: Vec<u64> = case.frames.iter().map(|(frame, _)| *frame).collect();
        assert_ne!(changed.replay().frames, expected, "{name}");
    }
    Ok(())
}
