//! Rows of files: written, and found again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sqlx::{Row as _, any::AnyRow};

use super::{
    database::{Database, Transaction},
    error::CatalogError,
    functions,
    number::{column, stored},
    spans,
    sql::{MAX_PARAMETERS, Statement},
    types::{Blob, FileId, FileQuery, FileRow, NewFile, Rolled, ServiceSum},
};
use crate::level::{DAY, Level};

/// A file has no data further from the span of its bucket than this: the middle of each batch is in
/// it, and no batch covers more than a day. By this the index of buckets serves queries for ranges.
pub(super) const REACH: i64 = DAY;

const COLUMNS: &str = "id, level, bucket, service, samples_path, samples_bytes, samples_crc, \
     stacks_path, stacks_bytes, stacks_crc, row_count, batches, samples, spans, rolled, created, damaged, functions";

/// A new file, checked and in the form of its row.
pub(super) struct Encoded<'a> {
    pub(super) file: &'a NewFile,
    /// Whether the values of its labels are written, too.
    pub(super) labelled: bool,
    spans: Vec<u8>,
}

// === impl Encoded ===

impl<'a> Encoded<'a> {
    /// Checks what is to be written.
    ///
    /// # Errors
    /// When a file contradicts itself.
    pub(super) fn all(files: &'a [NewFile]) -> Result<Vec<Self>, CatalogError> {
        files.iter().map(Self::new).collect()
    }

    /// The same for one.
    ///
    /// # Errors
    /// When it contradicts itself.
    pub(super) fn new(file: &'a NewFile) -> Result<Self, CatalogError> {
        let refused = |why: &str| CatalogError::Refused(format!("file {}: {why}", file.id));
        let spans = spans::encode(&file.spans).map_err(refused)?;
        let (start, end) = file.range();
        let (first, last) = (file.bucket - REACH, file.bucket + file.level.span() + REACH);
        if start < first || end > last {
            return Err(refused("its data are more than a day away from its bucket"));
        }
        if file.services.is_empty() {
            return Err(refused("it has no service"));
        }
        let names: HashSet<_> = file.services.iter().map(|sum| &sum.service).collect();
        if names.len() != file.services.len() {
            return Err(refused("a service stands in it twice"));
        }
        // PostgreSQL's text cannot hold one.
        if names.iter().any(|name| name.contains('\0')) {
            return Err(refused("the name of a service has a NUL character"));
        }
        if file.service.as_ref().is_some_and(|only| names.len() > 1 || !names.contains(only)) {
            return Err(refused("it is said to hold one service, and holds another"));
        }
        Ok(Self { file, labelled: false, spans })
    }
}

/// Writes rows of files and their services.
pub(super) async fn insert(
    transaction: &mut Transaction<'_>,
    files: &[Encoded<'_>],
    rolled: bool,
    now: i64,
) -> Result<(), CatalogError> {
    const PARAMETERS: usize = 20;
    for chunk in files.chunks(MAX_PARAMETERS / PARAMETERS) {
        let numbers = chunk.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
        let statement = Statement::new(
            "INSERT INTO files (id, level, bucket, range_start, range_end, samples_bytes, samples_crc, \
             stacks_bytes, stacks_crc, row_count, batches, samples, bytes, rolled, created, service, \
             samples_path, stacks_path, spans, labelled) VALUES ",
        );
        let rows = chunk.iter().zip(numbers);
        let statement = statement.rows(rows, |values, (encoded, numbers)| {
            for number in numbers {
                values.bind(number);
            }
            let file = encoded.file;
            values.bind(i64::from(rolled)).bind(now).bind(file.service.clone());
            values.bind(file.samples.path.clone()).bind(file.stacks.path.clone());
            values.bind(encoded.spans.clone()).bind(i64::from(encoded.labelled));
        });
        transaction.execute(statement).await?;
    }
    insert_services(transaction, files).await
}

/// The first 13 columns of a file's row.
fn numbers(encoded: &Encoded<'_>) -> Result<[i64; 13], CatalogError> {
    let file = encoded.file;
    let (start, end) = file.range();
    let count = |value, what| stored(value, || format!("{what} of file {}", file.id));
    Ok([
        file.id.number(),
        file.level.number(),
        file.bucket,
        start,
        end,
        count(file.samples.bytes, "size of the samples")?,
        file.samples.crc32c.into(),
        count(file.stacks.bytes, "size of the stacks")?,
        file.stacks.crc32c.into(),
        count(file.rows, "number of rows")?,
        count(file.batches, "number of batches")?,
        count(file.sample_count(), "number of samples")?,
        count(file.bytes(), "size")?,
    ])
}

async fn insert_services(
    transaction: &mut Transaction<'_>,
    files: &[Encoded<'_>],
) -> Result<(), CatalogError> {
    const PARAMETERS: usize = 6;
    let mut rows = Vec::new();
    for Encoded { file, .. } in files {
        for sum in &file.services {
            let what = |what| move || format!("{what} of {} in file {}", sum.service, file.id);
            let samples = stored(sum.samples, what("number of samples"))?;
            rows.push((file, sum, samples, stored(sum.nanos, what("CPU time"))?));
        }
    }
    for chunk in rows.chunks(MAX_PARAMETERS / PARAMETERS) {
        let statement = Statement::new(
            "INSERT INTO file_services (file, service, level, bucket, samples, nanos) VALUES ",
        );
        let statement = statement.rows(chunk, |values, (file, sum, samples, nanos)| {
            values.bind(file.id.number()).bind(sum.service.clone());
            values.bind(file.level.number()).bind(file.bucket).bind(*samples).bind(*nanos);
        });
        transaction.execute(statement).await?;
    }
    Ok(())
}

/// Live files that a query asks for.
pub(super) fn queried(query: &FileQuery<'_>) -> Statement {
    let (start, end) = query.range;
    let select = format!("SELECT {COLUMNS} FROM files WHERE ");
    let mut statement = Statement::new("");
    for (at, part) in parts(query).into_iter().enumerate() {
        statement = statement.push(if at == 0 { "" } else { " UNION ALL " }).push(&select);
        statement = part.live(query, statement);
        statement = statement.push(" AND range_start < ").bind(end);
        statement = statement.push(" AND range_end > ").bind(start);
        if let (Some(service), Of::Any) = (query.service, part.of) {
            // Not a join and no EXISTS: before PostgreSQL has gathered statistics it may otherwise look through
            // the services of all files there are.
            statement = statement.push(
                " AND (SELECT COUNT(*) FROM file_services WHERE file = files.id AND \
                 file_services.service = ",
            );
            statement = statement.bind(service.to_owned()).push(") > 0");
        }
    }
    statement.push(" ORDER BY bucket, created, id")
}

/// Some numbers that change whenever what [`queried`] finds does, and maybe when it does not. All of them
/// are in indices.
pub(super) fn state(query: &FileQuery<'_>) -> Statement {
    // Sums of random numbers, in halves: they would need 2^31 files to be too large.
    let halves = |column: &str| {
        format!(
            "CAST(COALESCE(SUM({column} / 2147483648), 0) AS BIGINT), \
             CAST(COALESCE(SUM({column} % 2147483648), 0) AS BIGINT)"
        )
    };
    let (ids, functions) = (halves("id"), halves("functions"));
    let damaged = "SELECT -1, COUNT(*), 0, ";
    let mut statement = Statement::new(&format!(
        "{damaged}{ids}, 0, 0 FROM files WHERE damaged IS NOT NULL AND retired IS NULL"
    ));
    for (at, part) in parts(query).into_iter().enumerate() {
        let select = format!(
            " UNION ALL SELECT {at}, COUNT(*), CAST(COALESCE(SUM(rolled), 0) AS BIGINT), {ids}, {functions} \
             FROM files WHERE "
        );
        statement = part.live(query, statement.push(&select));
    }
    statement.push(" ORDER BY 1")
}

/// Number of columns of [`state`].
pub(super) const STATE: usize = 7;

/// Files that one index finds.
struct Part {
    levels: Vec<Level>,
    rolled: Option<bool>,
    of: Of,
}

/// Files of which services.
#[derive(Clone, Copy)]
enum Of {
    /// That one which is asked for, by design.
    One,
    /// Those that have any by design, of all services.
    All,
    /// Those that may have several.
    Any,
}

fn parts(query: &FileQuery<'_>) -> Vec<Part> {
    let wanted = |levels: &[Level]| -> Vec<Level> {
        let is_wanted = |level: &&Level| query.level.is_none_or(|of| of == **level);
        levels.iter().filter(is_wanted).copied().collect()
    };
    let some = match query.rolled {
        Rolled::Any => vec![(wanted(&Level::ALL), None)],
        Rolled::Only(rolled) => vec![(wanted(&Level::ALL), Some(rolled))],
        Rolled::NoFine => vec![
            (wanted(&[Level::Hourly, Level::Daily]), None),
            (wanted(&[Level::Fine]), Some(false)),
        ],
    };
    let services: &[Of] = if query.service.is_some() { &[Of::One, Of::Any] } else { &[Of::All] };
    let some = some.into_iter().filter(|(levels, _)| !levels.is_empty());
    some.flat_map(|(levels, rolled)| {
        let part = move |of: &Of| Part { levels: levels.clone(), rolled, of: *of };
        services.iter().map(part)
    })
    .collect()
}

// === impl Part ===

impl Part {
    /// Adds the conditions of live files near the range of a query.
    fn live(&self, query: &FileQuery<'_>, statement: Statement) -> Statement {
        let (start, end) = query.range;
        let span = query.level.map_or(DAY, Level::span);
        let first = start.saturating_sub(span).saturating_sub(REACH);
        let last = end.saturating_add(REACH);
        let statement = match (self.of, query.service) {
            (Of::One, Some(service)) => {
                let statement = statement.push("service = ").bind(service.to_owned());
                // Said again as the index does.
                statement.push(" AND service IS NOT NULL AND ")
            }
            (Of::Any, _) => statement.push("service IS NULL AND "),
            _ => statement,
        };
        // The levels are listed even where all are wanted: the indices have them.
        let levels = self.levels.iter().map(|level| level.number());
        let statement = statement.push("level IN ").list(levels);
        let statement = statement.push(" AND bucket >= ").bind(first);
        let statement = statement.push(" AND bucket <= ").bind(last).push(" AND retired IS NULL");
        // Not as a parameter: an index is of those that are not.
        match self.rolled {
            None => statement,
            Some(true) => statement.push(" AND rolled = 1"),
            Some(false) => statement.push(" AND rolled = 0"),
        }
    }
}

/// Begins a statement for [`read`].
pub(super) fn select(condition: &str) -> Statement {
    Statement::new(&format!("SELECT {COLUMNS} FROM files WHERE {condition}"))
}

/// Files that a statement begun with [`select`] finds, in its order.
///
/// Their services come by a second statement. They never change, so the two fit together; a file that
/// was forgotten between them is left out.
pub(super) async fn read(
    database: &Database,
    action: &'static str,
    statement: Statement,
) -> Result<Vec<FileRow>, CatalogError> {
    let rows = database.read(action, statement).await?;
    let mut files = Vec::with_capacity(rows.len());
    let mut numbers = Vec::with_capacity(rows.len());
    for row in &rows {
        files.push(file(database, row)?);
        numbers.push(row.try_get(17).map_err(|source| database.failed(action, source))?);
    }
    functions::rows::attach(database, action, &mut files, &numbers).await?;
    let mut services = services(database, action, &files).await?;
    files.retain_mut(|row| match services.remove(&row.file.id) {
        Some(found) => {
            Arc::make_mut(&mut row.file).services = found;
            true
        }
        None => false,
    });
    Ok(files)
}

async fn services(
    database: &Database,
    action: &'static str,
    files: &[FileRow],
) -> Result<HashMap<FileId, Vec<ServiceSum>>, CatalogError> {
    let mut services: HashMap<_, Vec<_>> = HashMap::with_capacity(files.len());
    for chunk in files.chunks(MAX_PARAMETERS) {
        let statement = Statement::new(
            "SELECT file, service, samples, nanos FROM file_services WHERE file IN ",
        );
        let statement = statement.list(chunk.iter().map(|row| row.file.id.number()));
        let statement = statement.push(" ORDER BY file, service");
        for row in database.read(action, statement).await? {
            let failed = |source| database.failed(action, source);
            let service: String = row.try_get(1).map_err(failed)?;
            let sum = ServiceSum {
                service,
                samples: column(database, &row, 2)?,
                nanos: column(database, &row, 3)?,
            };
            let number = row.try_get(0).map_err(failed)?;
            services.entry(id(database, number)?).or_default().push(sum);
        }
    }
    Ok(services)
}

/// A row of [`COLUMNS`], as yet without services.
fn file(database: &Database, row: &AnyRow) -> Result<FileRow, CatalogError> {
    let failed = |source| database.failed("read files of", source);
    let id = id(database, row.try_get(0).map_err(failed)?)?;
    let damaged = |why: &str| database.damaged(format!("file {id}"), why);
    let level = Level::from_number(row.try_get(1).map_err(failed)?);
    let encoded: Vec<u8> = row.try_get(13).map_err(failed)?;
    let blob = |at: usize| -> Result<Blob, CatalogError> {
        let crc32c: i64 = row.try_get(at + 2).map_err(failed)?;
        Ok(Blob {
            path: row.try_get(at).map_err(failed)?,
            bytes: column(database, row, at + 1)?,
            crc32c: crc32c.try_into().map_err(|_| damaged("has a checksum that is none"))?,
        })
    };
    let file = NewFile {
        id,
        level: level.ok_or_else(|| damaged("has an unknown level"))?,
        bucket: row.try_get(2).map_err(failed)?,
        service: row.try_get(3).map_err(failed)?,
        samples: blob(4)?,
        stacks: blob(7)?,
        rows: column(database, row, 10)?,
        batches: column(database, row, 11)?,
        spans: spans::decode(&encoded).map_err(damaged)?,
        services: Vec::new(),
    };
    let rolled: i64 = row.try_get(14).map_err(failed)?;
    Ok(FileRow {
        file: Arc::new(file),
        rolled: rolled != 0,
        created: row.try_get(15).map_err(failed)?,
        damaged: row.try_get(16).map_err(failed)?,
        functions: None,
    })
}

pub(super) fn id(database: &Database, number: i64) -> Result<FileId, CatalogError> {
    FileId::from_number(number)
        .ok_or_else(|| database.damaged("the list of files", format!("has {number} as an id")))
}

/// Which of these files are known, retired ones included.
pub(super) async fn known(
    database: &Database,
    ids: &[FileId],
) -> Result<HashSet<FileId>, CatalogError> {
    const ACTION: &str = "look up files in";
    let mut known = HashSet::new();
    for chunk in ids.chunks(MAX_PARAMETERS) {
        for table in ["files", "function_files", "symbol_tables"] {
            let statement = Statement::new(&format!("SELECT id FROM {table} WHERE id IN "));
            let statement = statement.list(chunk.iter().map(|id| id.number()));
            for row in database.read(ACTION, statement).await? {
                let number = row.try_get(0).map_err(|source| database.failed(ACTION, source))?;
                known.insert(id(database, number)?);
            }
        }
    }
    Ok(known)
}
