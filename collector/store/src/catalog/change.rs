//! Files that take the place of others, that grow old, or that turn out to be damaged.

use std::collections::BTreeSet;

use super::{
    database::{Change, Outcome, Transaction},
    error::CatalogError,
    files::{self, Encoded},
    labels,
    number::{column, stored},
    sql::{MAX_PARAMETERS, Statement},
    types::{Expire, FileId, NewFile, Replace},
};
use crate::level::Level;

/// Files made of files.
pub(super) struct Replacement<'a> {
    inputs: BTreeSet<FileId>,
    outputs: Vec<Encoded<'a>>,
    level: Level,
    samples: u64,
    how: Replace,
    now: i64,
}

/// What the inputs of a replacement are together.
struct Locked {
    samples: u64,
    /// All values of their labels are known.
    labelled: bool,
}

/// A single statement that changes rows; how often it is tried, it is made anew each time.
pub(super) struct Single<F>(pub(super) F);

/// The same for each chunk of a list of files; gives the sum of rows changed.
pub(super) struct Each<'a, F> {
    pub(super) ids: &'a [FileId],
    pub(super) statement: F,
}

/// Retires what is too much.
pub(super) struct RetireUntil {
    pub(super) max_bytes: u64,
    pub(super) now: i64,
}

// === impl Replacement ===

impl<'a> Replacement<'a> {
    /// Checks a replacement for contradictions.
    ///
    /// # Errors
    /// When there are no inputs, or no outputs, or those of several levels.
    pub(super) fn new(
        inputs: &[FileId],
        outputs: &'a [NewFile],
        how: Replace,
        now: i64,
    ) -> Result<Self, CatalogError> {
        let refused = |why: &str| Err(CatalogError::Refused(why.to_owned()));
        let unique: BTreeSet<_> = inputs.iter().copied().collect();
        if unique.is_empty() || unique.len() != inputs.len() {
            return refused(
                "files can be made of other files only, each of which stands there once",
            );
        }
        let Some(level) = outputs.first().map(|file| file.level) else {
            return refused("nothing is to take the place of files");
        };
        if outputs.iter().any(|file| file.level != level) {
            return refused("files of several levels are to take the place of others");
        }
        let samples =
            outputs.iter().fold(0u64, |sum, file| sum.saturating_add(file.sample_count()));
        let outputs = Encoded::all(outputs)?;
        Ok(Self { inputs: unique, outputs, level, samples, how, now })
    }

    /// The level that inputs must have, if there is one.
    fn input_level(&self) -> Option<Level> {
        match self.how {
            Replace::Merge { .. } => Some(self.level),
            Replace::Roll => match self.level {
                Level::Fine => None,
                Level::Hourly => Some(Level::Fine),
                Level::Daily => Some(Level::Hourly),
            },
        }
    }

    /// Locks the inputs; `None` when one of them is not what it was when work on it began.
    async fn lock(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Option<Locked>, CatalogError> {
        let expected = match self.how {
            Replace::Merge { rolled } => rolled,
            Replace::Roll => false,
        };
        let inputs: Vec<_> = self.inputs.iter().map(|id| id.number()).collect();
        let (mut count, mut locked) = (0, Locked { samples: 0, labelled: true });
        for chunk in inputs.chunks(MAX_PARAMETERS) {
            let statement = Statement::new(
                "SELECT id, samples, level, labelled FROM files WHERE retired IS NULL AND damaged IS NULL \
                 AND rolled = ",
            );
            let statement = statement.bind(i64::from(expected)).push(" AND id IN ");
            let statement = statement.list(chunk.iter().copied()).push(" ORDER BY id");
            let statement = statement.push(transaction.lock());
            for row in transaction.fetch(statement).await? {
                count += 1;
                let samples = column(transaction.database(), &row, 1)?;
                locked.samples = locked.samples.saturating_add(samples);
                locked.labelled &= column(transaction.database(), &row, 3)? == 1;
                let level: u64 = column(transaction.database(), &row, 2)?;
                let expected = self.input_level().map(Level::number);
                if expected.is_none_or(|expected| i64::try_from(level) != Ok(expected)) {
                    let why = format!("{} files cannot be made of this level", self.level.as_str());
                    return Err(CatalogError::Refused(format!("level {level}: {why}")));
                }
            }
        }
        Ok((count == inputs.len()).then_some(locked))
    }
}

impl Change for Replacement<'_> {
    type Answer = bool;

    const ACTION: &'static str = "replace files in";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<bool>, CatalogError> {
        let Some(locked) = self.lock(transaction).await? else { return Ok(Outcome::Undo(false)) };
        let Locked { samples, labelled } = locked;
        if samples != self.samples {
            return Err(CatalogError::Refused(format!(
                "files with {samples} samples are to become files with {}: samples would be lost or doubled",
                self.samples
            )));
        }
        let inputs: Vec<_> = self.inputs.iter().map(|id| id.number()).collect();
        // One parameter is the time.
        for chunk in inputs.chunks(MAX_PARAMETERS - 1) {
            let statement = match self.how {
                Replace::Merge { .. } => {
                    Statement::new("UPDATE files SET retired = ").bind(self.now)
                }
                Replace::Roll => Statement::new("UPDATE files SET rolled = 1"),
            };
            let statement = statement.push(" WHERE id IN ").list(chunk.iter().copied());
            transaction.execute(statement).await?;
        }
        let rolled = matches!(self.how, Replace::Merge { rolled: true });
        files::insert(transaction, &self.outputs, rolled, self.now).await?;
        if labelled && matches!(self.how, Replace::Merge { .. }) {
            // They are of the same day, and have the same labels.
            let outputs: Vec<_> = self.outputs.iter().map(|output| output.file.id).collect();
            labels::mark(transaction, labels::State::All, &outputs).await?;
        }
        Ok(Outcome::Keep(true))
    }
}

// === impl Single ===

impl<F: Fn() -> Statement + Sync> Change for Single<F> {
    type Answer = u64;

    const ACTION: &'static str = "change";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<u64>, CatalogError> {
        Ok(Outcome::Keep(transaction.execute(self.0()).await?))
    }
}

// === impl Each ===

impl<F: Fn() -> Statement + Sync> Change for Each<'_, F> {
    type Answer = u64;

    const ACTION: &'static str = "change files in";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<u64>, CatalogError> {
        let mut changed = 0;
        for chunk in self.ids.chunks(MAX_PARAMETERS - 1) {
            let statement = (self.statement)().list(chunk.iter().map(|id| id.number()));
            changed += transaction.execute(statement).await?;
        }
        Ok(Outcome::Keep(changed))
    }
}

// === impl RetireUntil ===

impl Change for RetireUntil {
    type Answer = u64;

    const ACTION: &'static str = "retire the oldest files of";

    async fn make(&self, transaction: &mut Transaction<'_>) -> Result<Outcome<u64>, CatalogError> {
        // Two at once would both count the same files as too much, and look for more. The row of the
        // format is there for sure and is never changed.
        let lock = Statement::new("SELECT name FROM meta WHERE name = 'format'");
        transaction.fetch(lock.push(transaction.lock())).await?;
        let sum = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM files WHERE retired IS NULL";
        let rows = transaction.fetch(Statement::new(sum)).await?;
        let Some(row) = rows.first() else { return Ok(Outcome::Undo(0)) };
        let live = column(transaction.database(), row, 0)?;
        let Some(excess) = live.checked_sub(self.max_bytes).filter(|excess| *excess > 0) else {
            return Ok(Outcome::Undo(0));
        };
        // Each file that is needed to get rid of the excess: what those before it have is not enough.
        // A level counts in the order only where the next one has the same samples.
        let statement = Statement::new("UPDATE files SET retired = ").bind(self.now).push(
            " WHERE retired IS NULL AND id IN (SELECT id FROM (SELECT id, \
             SUM(bytes) OVER (ORDER BY rolled DESC, CASE rolled WHEN 1 THEN level ELSE 0 END, \
             range_end, id ROWS UNBOUNDED PRECEDING) - bytes AS before \
             FROM files WHERE retired IS NULL) AS ordered WHERE before < ",
        );
        let statement = statement.bind(stored(excess, || "excess".to_owned())?).push(")");
        Ok(Outcome::Keep(transaction.execute(statement).await?))
    }
}

/// Retires live files of a level without data at `before` or later.
///
/// # Errors
/// When the list of services is too long for a statement.
pub(super) fn expire(
    level: Level,
    which: Expire<'_>,
    before: i64,
    now: i64,
) -> Result<Single<impl Fn() -> Statement + Sync>, CatalogError> {
    let most = MAX_PARAMETERS - 3;
    if matches!(which, Expire::Except(services) if services.len() > most) {
        let why = format!("more than {most} services have a retention of their own");
        return Err(CatalogError::Refused(why));
    }
    Ok(Single(move || {
        let statement = Statement::new("UPDATE files SET retired = ").bind(now);
        let statement = statement.push(" WHERE retired IS NULL AND level = ").bind(level.number());
        let mut statement = statement.push(" AND range_end <= ").bind(before);
        // What the next level does not have yet is still to be merged into it, however late it came; what is
        // damaged never will be.
        if level != Level::Daily {
            statement = statement.push(" AND (rolled = 1 OR damaged IS NOT NULL)");
        }
        match which {
            Expire::Service(service) => statement.push(" AND service = ").bind(service.to_owned()),
            Expire::Except([]) => statement,
            Expire::Except(services) => statement
                .push(" AND (service IS NULL OR service NOT IN ")
                .list(services.iter().map(|service| (*service).to_owned()))
                .push(")"),
        }
    }))
}
