//! What a collector gets back from an object store that others can write to: pairs of Parquet files, and
//! functions files. Their checksums are made to fit: who means harm can do that, too.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashSet},
    panic,
    sync::Once,
};

use bytes::Bytes;
use fleetprof_proto::batch::{Batch, FrameRef};
use fleetprof_store::{
    Amounts, FileId, FormatError, FunctionKey, FunctionOrigin, FunctionTable, FunctionsFile,
    FunctionsWanted, HOUR, OriginFilter, Part, Stacks, Table, Wanted, decode, encode,
    encode_functions, fuzz,
};

/// Between two files of a pair: the end of one, the start of the next.
const BETWEEN: &[u8] = b"PAR1PAR1";
/// One of those in the inputs to begin with.
const SERVICE: &str = "shop";
/// What has more rows is not written again: a row that is repeated costs nothing in a file.
const MAX_ROWS: usize = 4096;

thread_local! {
    /// Whether a reader runs on this thread, so that panics of libraries are errors of a file.
    static READS: Cell<bool> = const { Cell::new(false) };
    /// Whether it was fleetprof that panicked, and not a library.
    static WE_PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a reader. It makes panics of the library that reads Parquet errors of the file, which is no news here:
/// there are some. Those of fleetprof are defects, although they are caught, too.
fn reading<T>(read: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Where cargo unpacks what is not ours.
            let is_library =
                info.location().is_some_and(|place| place.file().contains("/registry/src/"));
            if READS.get() && is_library {
                return;
            }
            WE_PANICKED.set(true);
            before(info);
        }));
    });
    READS.set(true);
    WE_PANICKED.set(false);
    let read = read();
    READS.set(false);
    assert!(!WE_PANICKED.get(), "fleetprof's own code panicked");
    read
}

/// A pair: the samples file, and right behind it the stacks file.
pub(crate) fn pair(bytes: &[u8]) {
    let at = bytes.windows(BETWEEN.len()).position(|window| window == BETWEEN);
    let (samples, stacks) = bytes.split_at(at.map_or(bytes.len(), |at| at + BETWEEN.len() / 2));
    let (samples, stacks) = (fuzz::sealed(samples), fuzz::sealed(stacks));
    let read = |wanted: &Wanted| {
        reading(|| decode(samples.clone(), wanted.has_stacks().then(|| stacks.clone()), wanted))
    };
    let all = read(&Wanted::all());
    let labels = ["service", "version", "team"].map(str::to_owned).to_vec();
    let part = Wanted {
        labels: Some(labels),
        range: Some((1_000, 2_000_000)),
        ..Wanted::of_service(SERVICE)
    };
    let without_stacks = Wanted { stacks: Stacks::None, ..part.clone() };
    let without_windows = Wanted { windows: false, ..part.clone() };
    let frames = read(&Wanted { stacks: Stacks::Frames, ..part.clone() });
    let whole = read(&without_windows);
    for part in [part, without_stacks, without_windows] {
        if let (Ok(part), Ok(all)) = (read(&part), &all) {
            assert!(part.samples() <= all.samples(), "a part is more than the whole");
        }
    }
    let extracted = reading(|| fuzz::of_service(samples.clone(), stacks.clone(), SERVICE));
    let Ok(table) = all else { return };
    if table.rows.len() + table.code.stack_count() + table.code.frame_count() > MAX_ROWS {
        return;
    }
    is_kept(&table);
    if let (Ok(whole), Ok(frames)) = (whole, frames) {
        assert_eq!(content(&frames), frames_of(&whole), "stacks have other frames");
    }
    if let Ok((samples, stacks)) = extracted {
        let extracted = decode(samples, Some(stacks), &Wanted::all()).expect("just written");
        let mut expected = content(&table);
        expected.retain(|key, _| key.0.get("service") == Some(&SERVICE));
        assert_eq!(content(&extracted), expected);
    }
}

/// What reading frames only should give, by going through a table with stacks.
fn frames_of(table: &Table) -> BTreeMap<Key<'_>, (u64, u64)> {
    let mut frames: BTreeMap<Key<'_>, (u64, u64)> = BTreeMap::new();
    for ((labels, window, _, stack), counts) in content(table) {
        let each = stack.into_iter().map(|frame| vec![frame]);
        for stack in each.chain([Vec::new()]) {
            let sum = frames.entry((labels.clone(), window, 0, stack)).or_default();
            *sum = (sum.0.saturating_add(counts.0), sum.1.saturating_add(counts.1));
        }
    }
    frames
}

/// What was read can be written, and is the same when it is read again.
fn is_kept(table: &Table) {
    let id = FileId::from_number(1).expect("a positive number");
    let is_huge = |number: u64| i64::try_from(number).is_err();
    let written = match encode(id, table, None) {
        Ok(written) => written,
        // Rows of one key are added up, and the sum may be more than a file can say.
        Err(FormatError::Unstorable { .. })
            if table.rows.iter().any(|row| is_huge(row.samples) || is_huge(row.nanos)) =>
        {
            return;
        }
        Err(error) => panic!("what was read cannot be written: {error}"),
    };
    let again = decode(written.samples, Some(written.stacks), &Wanted::all());
    let again = again.expect("what was just written");
    assert_eq!(content(&again), content(table));
}

/// What makes samples the same: labels, window, result, stack.
type Key<'a> = (BTreeMap<&'a str, &'a str>, (i64, i64), u32, Vec<String>);

/// What is in a table, whatever its numbers.
fn content(table: &Table) -> BTreeMap<Key<'_>, (u64, u64)> {
    let mut content: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for row in &table.rows {
        let window = (row.window.start_unix_nanos, row.window.end_unix_nanos);
        let stack = stack(&table.code, row.stack as usize);
        let sum = content.entry((table.labels(row.origin), window, row.result, stack)).or_default();
        *sum = (sum.0.saturating_add(row.samples), sum.1.saturating_add(row.nanos));
    }
    content
}

fn stack(code: &Batch, stack: usize) -> Vec<String> {
    // All but the number of its object.
    let text = |frame| format!("{:?}", FrameRef { object: 0, ..code.frame(frame) });
    code.stack_frames(stack).map(text).collect()
}

/// A functions file.
pub(crate) fn functions(bytes: &[u8]) {
    let file = Bytes::copy_from_slice(bytes);
    let sums = |wanted: &FunctionsWanted| {
        read_part(&file, |file| file.sums_part(wanted), |file| file.sums(wanted))
    };
    let all = FunctionsWanted::default();
    let hours = FunctionsWanted { hours: Some((0, 3 * HOUR)), ..all.clone() };
    let origin = OriginFilter::new(|service, version| service == SERVICE || version.is_some());
    let origin = FunctionsWanted { origin: Some(origin), ..all.clone() };
    let files: HashSet<FileId> = FileId::from_number(1).into_iter().collect();
    let of_file = FunctionsWanted { files: Some(files), ..all.clone() };
    for wanted in [hours, origin, of_file] {
        let _read = sums(&wanted);
    }
    let _audited = reading(|| fuzz::audit(&file));
    let Ok(found) = sums(&all) else { return };
    if found.len() > MAX_ROWS {
        return;
    }
    let places: Vec<_> = found.iter().map(|sum| sum.place).collect();
    let names = read_part(&file, |file| file.names_part(&places), |file| file.names(&places));
    let Ok(names) = names else { return };
    let names: BTreeSet<String> = names.into_iter().map(|key| key.function).collect();
    let mut histories = BTreeMap::new();
    for name in names.iter().take(64) {
        match history(&file, name, &all) {
            Ok(history) => histories.insert(name.clone(), history),
            Err(_) => return,
        };
    }
    are_kept(&histories);
}

/// By service, version and hour.
type History = BTreeMap<(String, Option<String>, i64), Amounts>;

/// What there is of the functions of one name.
fn history(file: &Bytes, function: &str, wanted: &FunctionsWanted) -> Result<History, FormatError> {
    let part = |file: &FunctionsFile| file.history_part(function);
    let found = read_part(file, part, |file| file.history(function, wanted))?;
    let mut history = History::new();
    for found in found {
        for (hour, amounts) in found.hours {
            let key = (found.service.clone(), found.version.clone(), hour);
            history.entry(key).or_default().add(amounts);
        }
    }
    Ok(history)
}

/// Reads a part of a file as the store does.
fn read_part<T>(
    bytes: &Bytes,
    part: impl FnOnce(&FunctionsFile) -> Part,
    read: impl FnOnce(&FunctionsFile) -> Result<T, FormatError>,
) -> Result<T, FormatError> {
    reading(|| {
        let mut file = fuzz::functions_file(bytes)?;
        let part = part(&file);
        let ranges = file.ranges(&part)?.into_iter();
        // They are in the file: that is what `ranges` promises.
        let ranges = ranges.map(|range| bytes.slice(range.start as usize..range.end as usize));
        file.fill(&part, ranges.collect())?;
        read(&file)
    })
}

/// What was read can be written, and is the same when it is read again.
fn are_kept(histories: &BTreeMap<String, History>) {
    let id = FileId::from_number(1).expect("a positive number");
    let is_huge = |amounts: &Amounts| {
        let Amounts { self_samples, total_samples, self_nanos, total_nanos } = *amounts;
        [self_samples, total_samples, self_nanos, total_nanos].iter().any(|it| *it > 1 << 48)
    };
    if histories.values().flat_map(BTreeMap::values).any(is_huge) {
        // The sum of some may be more than a file can say.
        return;
    }
    let mut table = FunctionTable::default();
    for (function, history) in histories {
        for ((service, version, hour), amounts) in history {
            let key = FunctionKey::new(function.clone(), "", "");
            let (service, version) = (service.clone(), version.clone());
            table.put(key, FunctionOrigin { service, version, file: id }, *hour, *amounts);
        }
    }
    let written = encode_functions(id, table).expect("what was read can be written");
    for (function, expected) in histories {
        let again = history(&written.bytes, function, &FunctionsWanted::default());
        assert_eq!(again.as_ref().ok(), Some(expected), "{function}: {again:?}");
    }
}
