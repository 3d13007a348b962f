//! The functions of pairs of files, by the hour: what a functions file is written from. Pure.

use fleetprof_proto::{labels, symbol::Symbol};
use hashbrown::HashMap;

use super::{Amounts, FunctionKey, FunctionSums, Functions};
use crate::{
    catalog::FileId,
    level::{HOUR, midpoint},
    table::Table,
};

/// Where functions were seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionOrigin {
    /// The service, empty when there is none.
    pub service: String,
    /// Its version, if there is one.
    pub version: Option<String>,
    /// The pair of files.
    pub file: FileId,
}

/// A function in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRow {
    /// By the start of each hour, Unix nanoseconds, in order. Never empty.
    pub hours: Vec<(i64, Amounts)>,
    /// Number of the function.
    pub function: usize,
    /// Number of the place.
    pub origin: usize,
}

/// Sums by function, place and hour.
#[derive(Debug, Default)]
pub struct FunctionTable {
    functions: Functions,
    numbers: HashMap<FunctionOrigin, usize>,
    origins: Vec<FunctionOrigin>,
    rows: HashMap<(usize, usize), Vec<(i64, Amounts)>>,
    /// Hours of all rows.
    hours: usize,
}

// === impl FunctionTable ===

impl FunctionTable {
    /// Adds the samples of a pair of files; `symbols` is parallel to the frame rows of its code.
    pub fn add(&mut self, file: FileId, table: &Table, symbols: &[Symbol]) {
        let origins: Vec<usize> =
            (0..table.code.origin_count()).map(|origin| self.origin(file, table, origin)).collect();
        let mut sums = FunctionSums::new(&table.code, symbols, &mut self.functions);
        let mut rows: Vec<_> = table
            .rows
            .iter()
            .map(|row| {
                let middle = midpoint(row.window);
                (origins[row.origin as usize], middle - middle.rem_euclid(HOUR), row)
            })
            .collect();
        rows.sort_by_key(|(origin, hour, _)| (*origin, *hour));
        for rows in rows.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            for (_, _, row) in rows {
                sums.count(row.stack as usize, row.samples, row.nanos);
            }
            let (origin, hour, _) = rows[0];
            for (function, amounts) in sums.take() {
                let hours = self.rows.entry((function, origin)).or_default();
                self.hours += usize::from(add(hours, hour, amounts));
            }
        }
    }

    /// Adds what a function takes in an hour, of which the start is given, Unix nanoseconds.
    pub fn put(
        &mut self,
        function: FunctionKey,
        origin: FunctionOrigin,
        hour: i64,
        amounts: Amounts,
    ) {
        let place = (self.functions.number(function), self.place(origin));
        self.hours += usize::from(add(self.rows.entry(place).or_default(), hour, amounts));
    }

    /// Hours of all rows so far: the measure of memory, some 60 to 100 bytes each.
    pub fn hours(&self) -> usize {
        self.hours
    }

    fn origin(&mut self, file: FileId, table: &Table, origin: usize) -> usize {
        let mut found = FunctionOrigin { service: String::new(), version: None, file };
        for (name, value) in table.code.origin_labels(origin) {
            match name {
                labels::SERVICE => found.service = value.to_owned(),
                labels::VERSION if !value.is_empty() => found.version = Some(value.to_owned()),
                _ => {}
            }
        }
        self.place(found)
    }

    fn place(&mut self, origin: FunctionOrigin) -> usize {
        let next = self.origins.len();
        let origins = &mut self.origins;
        *self.numbers.entry(origin).or_insert_with_key(|found| {
            origins.push(found.clone());
            next
        })
    }

    /// The rows in the order of files: by function, then by place.
    pub fn into_rows(self) -> (Vec<FunctionKey>, Vec<FunctionOrigin>, Vec<FunctionRow>) {
        let keys = self.functions.keys().to_vec();
        let row = |((function, origin), hours)| FunctionRow { hours, function, origin };
        let mut rows: Vec<FunctionRow> = self.rows.into_iter().map(row).collect();
        let names = ranks(&keys, FunctionKey::texts);
        let places = ranks(&self.origins, |origin| origin);
        rows.sort_by_key(|row| (names[row.function], places[row.origin]));
        (keys, self.origins, rows)
    }
}

/// Adds what a row has in an hour; whether it had nothing there before. Mostly it is the last hour.
fn add(hours: &mut Vec<(i64, Amounts)>, hour: i64, amounts: Amounts) -> bool {
    match hours.binary_search_by_key(&hour, |(start, _)| *start) {
        Ok(known) => {
            hours[known].1.add(amounts);
            false
        }
        Err(place) => {
            if hours.is_empty() {
                // Most rows have one.
                hours.reserve_exact(1);
            }
            hours.insert(place, (hour, amounts));
            true
        }
    }
}

/// The place of each value when sorted by a key.
fn ranks<'a, T, K: Ord>(values: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..values.len()).collect();
    sorted.sort_by_cached_key(|number| key(&values[*number]));
    let mut ranks = vec![0; values.len()];
    for (rank, number) in sorted.into_iter().enumerate() {
        ranks[number] = rank;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that hours come out in order and once, in whichever order they came, and that they are counted.
    #[test]
    fn hours_are_in_order() {
        let mut table = FunctionTable::default();
        let key = FunctionKey {
            function: "f".to_owned(),
            file: String::new(),
            module: String::new(),
            unnamed: None,
        };
        let origin =
            FunctionOrigin { service: "a".to_owned(), version: None, file: FileId::random() };
        for hour in [2, 0, 1, 2, 1] {
            let amounts = Amounts { self_samples: 1, ..Amounts::default() };
            table.put(key.clone(), origin.clone(), hour * HOUR, amounts);
        }
        assert_eq!(table.hours(), 3);
        let (.., rows) = table.into_rows();
        let hours = rows[0].hours.iter().map(|(hour, it)| (hour / HOUR, it.self_samples));
        assert_eq!(hours.collect::<Vec<_>>(), [(0, 1), (1, 2), (2, 2)]);
    }
}
