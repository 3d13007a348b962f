//! Batches that came in become files: one pair for each hour they are of, committed together.

use std::collections::{BTreeMap, HashSet};

use fleetprof_proto::{batch::Batch, ids::BatchId, v1};

use crate::{
    catalog::{Committed, Delivery, NewFile},
    error::StoreError,
    format,
    labels::NewLabels,
    level::{DAY, Level},
    store::{Place, ProfileStore},
    table::TableBuilder,
};

/// A validated batch to keep.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// Identifies it for good.
    pub id: BatchId,
    /// Its samples.
    pub batch: Batch,
    /// Host it came from.
    pub host: String,
    /// Version of the agent, empty when unknown.
    pub agent_version: String,
    /// The agent's counters when it was sealed.
    pub accounting: v1::Accounting,
    /// Size as it came, bytes.
    pub bytes: usize,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is durable now.
    Stored,
    /// It was there.
    Duplicate,
}

// === impl ProfileStore ===

impl ProfileStore {
    /// Keeps batches, all or none of them: when this returns `Ok`, they are durable. A batch whose id is
    /// there already, or stands twice in `batches`, is kept once. Answers what became of each, in their
    /// order.
    ///
    /// # Errors
    /// When the object store or the catalog fails. It may be unknown whether the batches are kept then:
    /// they are to be given again, and are recognized if they were.
    pub async fn append(&self, batches: Vec<NewBatch>) -> Result<Vec<Appended>, StoreError> {
        let result = self.append_new(batches).await;
        self.note(result.as_ref().err());
        result
    }

    async fn append_new(&self, batches: Vec<NewBatch>) -> Result<Vec<Appended>, StoreError> {
        let ids: Vec<BatchId> = batches.iter().map(|batch| batch.id).collect();
        let mut known = self.catalog.contains(&ids).await?;
        let mut fresh = batches;
        let mut seen = HashSet::new();
        // The first of two with the same id is kept.
        fresh.retain(|batch| !known.contains(&batch.id) && seen.insert(batch.id));
        while !fresh.is_empty() {
            let kept: HashSet<BatchId> = fresh.iter().map(|batch| batch.id).collect();
            let (files, labels, batches) = self.write(fresh).await?;
            let deliveries: Vec<_> = batches.iter().map(NewBatch::delivery).collect();
            let labelled = |id| labels.files.contains(&id);
            let now = self.now();
            let commit =
                self.catalog.commit_labelled(&files, &deliveries, &labels.values, labelled, now);
            match commit.await? {
                Committed::Done => {
                    self.labels.note(&labels);
                    return Ok(appended(&ids, kept));
                }
                Committed::Duplicates(ids) => {
                    // Another collector was faster. Nobody knows these files.
                    self.discard(&files).await;
                    known = ids.into_iter().collect();
                    fresh = batches;
                    fresh.retain(|batch| !known.contains(&batch.id));
                }
            }
        }
        Ok(appended(&ids, HashSet::new()))
    }

    /// Writes the samples of batches to files; gives the batches back.
    async fn write(
        &self,
        batches: Vec<NewBatch>,
    ) -> Result<(Vec<NewFile>, NewLabels, Vec<NewBatch>), StoreError> {
        let written = self.labels.clone();
        let build = move || {
            let mut hours: BTreeMap<i64, (TableBuilder, u64)> = BTreeMap::new();
            for batch in &batches {
                // As it will be read: rounding may move the middle into the next hour.
                let window = batch.batch.window();
                let window = format::stored_window(window).unwrap_or(window);
                let hour = hours.entry(Level::Fine.bucket(window)).or_default();
                hour.0.add_batch(&batch.batch);
                hour.1 += 1;
            }
            let table = |(hour, (table, count)): (i64, (TableBuilder, u64))| {
                let table = table.finish();
                let labels = written.new_of(&table, hour - hour.rem_euclid(DAY));
                (hour, table, labels, count)
            };
            (hours.into_iter().map(table).collect::<Vec<_>>(), batches)
        };
        let (tables, batches) = self.compute(build).await?;
        let (mut files, mut labels) = (Vec::with_capacity(tables.len()), NewLabels::default());
        for (bucket, table, of_table, count) in tables {
            // A batch of an idle host has no samples.
            if table.rows.is_empty() {
                continue;
            }
            let place = Place { level: Level::Fine, bucket, service: None, batches: count };
            let file = self.write_table(place, table, None).await?;
            labels.add(file.id, of_table);
            files.push(file);
        }
        Ok((files, labels, batches))
    }
}

// === impl NewBatch ===

impl NewBatch {
    fn delivery(&self) -> Delivery {
        let window = self.batch.window();
        Delivery {
            id: self.id,
            samples: self.batch.sample_total(),
            window: (window.start_unix_nanos, window.end_unix_nanos),
            host: self.host.clone(),
            agent_version: self.agent_version.clone(),
            accounting: self.accounting.clone(),
        }
    }
}

/// `Stored` for the first of each id that was kept.
fn appended(ids: &[BatchId], mut kept: HashSet<BatchId>) -> Vec<Appended> {
    let of = |id| if kept.remove(id) { Appended::Stored } else { Appended::Duplicate };
    ids.iter().map(of).collect()
}
