//! New files and the batches in them: each batch is taken over once, whoever brings it how often.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use fleetprof_proto::{
    ids::{BatchId, InstanceId},
    v1,
};
use prost::Message as _;
use sqlx::{Row as _, any::AnyRow};

use super::{
    database::{Change, Database, Outcome, Transaction},
    error::CatalogError,
    files::{self, Encoded},
    labels::{self, LabelValue},
    number::{column, stored},
    runs::Runs,
    sql::{MAX_PARAMETERS, Statement},
    types::{Committed, Delivery, Instance},
};

/// Columns of a row of `instances`.
pub(super) const COLUMNS: &str =
    "id, runs, samples, batches, host, agent_version, window_start, window_end, accounting";

/// A commit to be made.
pub(super) struct Commit<'a> {
    pub(super) files: Vec<Encoded<'a>>,
    pub(super) deliveries: &'a [Delivery],
    pub(super) labels: &'a BTreeSet<LabelValue>,
    pub(super) now: i64,
}

/// A row of `instances`.
pub(super) struct Kept {
    pub(super) runs: Runs,
    pub(super) status: Instance,
}

// === impl Commit ===

impl Change for Commit<'_> {
    type Answer = Committed;

    const ACTION: &'static str = "write batches to";

    /// Whoever commits locks the rows of all instances concerned, in the order of their ids, before it
    /// looks whether a batch is there. Rows that are missing are made first, in the same order:
    /// otherwise two that bring the first batch of an instance would have nothing to lock.
    async fn make(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Outcome<Committed>, CatalogError> {
        let mut instances: Vec<_> = self.deliveries.iter().map(|it| it.id.instance).collect();
        instances.sort_unstable();
        instances.dedup();
        let mut kept = lock(transaction, &instances).await?;
        let mut duplicates = Vec::new();
        for delivery in self.deliveries {
            let Some(instance) = kept.get_mut(&delivery.id.instance) else {
                let what = format!("instance {}", delivery.id.instance);
                return Err(transaction.database().damaged(what, "is gone though it was locked"));
            };
            if !instance.add(delivery)? {
                duplicates.push(delivery.id);
            }
        }
        if !duplicates.is_empty() {
            let mut seen = HashSet::new();
            duplicates.retain(|id| seen.insert(*id));
            return Ok(Outcome::Undo(Committed::Duplicates(duplicates)));
        }
        files::insert(transaction, &self.files, false, self.now).await?;
        write(transaction, &kept).await?;
        labels::insert(transaction, self.labels).await?;
        Ok(Outcome::Keep(Committed::Done))
    }
}

/// Locks the rows of instances, which are in order.
async fn lock(
    transaction: &mut Transaction<'_>,
    instances: &[InstanceId],
) -> Result<BTreeMap<InstanceId, Kept>, CatalogError> {
    let mut kept = BTreeMap::new();
    let bytes = |id: &InstanceId| id.as_bytes().to_vec();
    for chunk in instances.chunks(MAX_PARAMETERS) {
        let missing = Statement::new("INSERT INTO instances (id) VALUES ");
        let missing = missing.rows(chunk, |values, id| {
            values.bind(bytes(id));
        });
        transaction.execute(missing.push(" ON CONFLICT (id) DO NOTHING")).await?;
    }
    for chunk in instances.chunks(MAX_PARAMETERS) {
        let locked = Statement::new(&format!("SELECT {COLUMNS} FROM instances WHERE id IN "));
        let locked = locked.list(chunk.iter().map(bytes)).push(" ORDER BY id");
        let locked = locked.push(transaction.lock());
        for row in transaction.fetch(locked).await? {
            let row = Kept::read(transaction.database(), &row)?;
            kept.insert(row.status.instance, row);
        }
    }
    Ok(kept)
}

/// Writes rows of instances that are there and locked.
async fn write(
    transaction: &mut Transaction<'_>,
    kept: &BTreeMap<InstanceId, Kept>,
) -> Result<(), CatalogError> {
    const PARAMETERS: usize = 10;
    let mut rows = Vec::with_capacity(kept.len());
    for (id, row) in kept {
        let status = &row.status;
        let samples = stored(status.samples, || format!("number of samples of instance {id}"))?;
        let batches = stored(status.batches, || format!("number of batches of instance {id}"))?;
        rows.push((id, row, samples, batches));
    }
    for chunk in rows.chunks(MAX_PARAMETERS / PARAMETERS) {
        let statement = format!("INSERT INTO instances ({COLUMNS}, lost) VALUES ");
        let statement = Statement::new(&statement);
        let statement = statement.rows(chunk, |values, (id, row, samples, batches)| {
            let status = &row.status;
            values.bind(id.as_bytes().to_vec()).bind(row.runs.encode());
            values.bind(*samples).bind(*batches);
            values.bind(status.host.clone()).bind(status.agent_version.clone());
            values.bind(status.window.0).bind(status.window.1);
            values.bind(status.accounting.encode_to_vec()).bind(lost(&status.accounting));
        });
        let statement = statement.push(
            " ON CONFLICT (id) DO UPDATE SET runs = excluded.runs, samples = excluded.samples, \
             batches = excluded.batches, host = excluded.host, \
             agent_version = excluded.agent_version, window_start = excluded.window_start, \
             window_end = excluded.window_end, accounting = excluded.accounting, \
             lost = excluded.lost",
        );
        transaction.execute(statement).await?;
    }
    Ok(())
}

// === impl Kept ===

impl Kept {
    /// From a row of [`COLUMNS`].
    pub(super) fn read(database: &Database, row: &AnyRow) -> Result<Self, CatalogError> {
        let failed = |source| database.failed("read instances of", source);
        let id: Vec<u8> = row.try_get(0).map_err(failed)?;
        let instance = InstanceId::try_from(id.as_slice());
        let instance =
            instance.map_err(|error| database.damaged("an instance", error.to_string()))?;
        let damaged =
            |why: &dyn ToString| database.damaged(format!("instance {instance}"), why.to_string());
        let runs: Vec<u8> = row.try_get(1).map_err(failed)?;
        let accounting: Vec<u8> = row.try_get(8).map_err(failed)?;
        let status = Instance {
            instance,
            samples: column(database, row, 2)?,
            batches: column(database, row, 3)?,
            host: row.try_get(4).map_err(failed)?,
            agent_version: row.try_get(5).map_err(failed)?,
            window: (row.try_get(6).map_err(failed)?, row.try_get(7).map_err(failed)?),
            accounting: v1::Accounting::decode(&*accounting).map_err(|error| damaged(&error))?,
        };
        Ok(Self { runs: Runs::decode(&runs).map_err(|error| damaged(&error))?, status })
    }

    /// Notes a batch; `false` when it was there. Batches may come in any order: the counters are those
    /// of the highest sequence.
    fn add(&mut self, delivery: &Delivery) -> Result<bool, CatalogError> {
        let sequence = delivery.id.sequence;
        let latest = self.runs.latest();
        if !self.runs.insert(sequence) {
            return Ok(false);
        }
        let status = &mut self.status;
        let too_large = || CatalogError::TooLarge {
            what: format!("number of samples of the instance with that of batch {}", delivery.id),
            value: delivery.samples,
        };
        let samples = status.samples.checked_add(delivery.samples);
        status.samples = samples.filter(|sum| i64::try_from(*sum).is_ok()).ok_or_else(too_large)?;
        status.batches += 1;
        let (start, end) = delivery.window;
        status.window = match latest {
            Some(_) => (status.window.0.min(start), status.window.1.max(end)),
            None => (start, end),
        };
        if latest.is_none_or(|latest| sequence > latest) {
            status.host = storable(&delivery.host);
            status.agent_version = storable(&delivery.agent_version);
            status.accounting = delivery.accounting.clone();
        }
        Ok(true)
    }
}

/// Samples that an instance says it lost.
fn lost(accounting: &v1::Accounting) -> i64 {
    let counters = accounting.dropped.iter().chain(&accounting.recovered_dropped);
    let sum = counters.fold(0, |sum: u64, counter| sum.saturating_add(counter.value));
    i64::try_from(sum).unwrap_or(i64::MAX)
}

/// Text that is only read by people: without NUL characters, which PostgreSQL cannot hold.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Which of these batches are in the store.
pub(super) async fn contains(
    database: &Database,
    ids: &[BatchId],
) -> Result<HashSet<BatchId>, CatalogError> {
    const ACTION: &str = "look up batches in";
    let instances: HashSet<_> = ids.iter().map(|id| id.instance).collect();
    let instances: Vec<_> = instances.into_iter().collect();
    let mut kept = HashMap::new();
    for chunk in instances.chunks(MAX_PARAMETERS) {
        let statement = Statement::new(&format!("SELECT {COLUMNS} FROM instances WHERE id IN "));
        let statement = statement.list(chunk.iter().map(|id| id.as_bytes().to_vec()));
        for row in database.read(ACTION, statement).await? {
            let row = Kept::read(database, &row)?;
            kept.insert(row.status.instance, row.runs);
        }
    }
    let there = |id: &&BatchId| {
        kept.get(&id.instance).is_some_and(|runs: &Runs| runs.contains(id.sequence))
    };
    Ok(ids.iter().filter(there).copied().collect())
}
