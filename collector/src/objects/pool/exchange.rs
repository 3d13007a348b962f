//! What this collector and the others tell each other through the catalog: new tables, whose turn it is to
//! ask for an object, and which tables are still needed. Few statements, for many objects each.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use fleetprof_proto::ids::ObjectId;
use fleetprof_store::{CatalogError, SymbolCursor, SymbolTable};
use fleetprof_symbolizer::identity::SymbolLevel;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Pool, Shared,
    claims::{Claim, Work},
    publish::made,
};
use crate::{
    clock,
    objects::{
        Wants,
        catalog::{Failure, NamesOf},
    },
};

/// How often the catalog is asked what is new, up to a quarter less.
const EVERY: Duration = Duration::from_secs(3);
/// How long claims that are wanted wait for others, to be taken together.
const GATHER: Duration = Duration::from_millis(100);
/// Rows read at a time.
const PAGE: u32 = 5000;
/// Publications at a time.
const PUBLISHERS: usize = 2;
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the task remembers.
struct Exchange {
    shared: Arc<Shared>,
    wants: Wants,
    cursor: SymbolCursor,
    /// All that was there at the start has been read.
    is_up_to_date: bool,
    told: Instant,
}

// === impl Pool ===

impl Pool {
    /// Learns what there is, then exchanges with the others until `stop` fires. Returns when it knows, or
    /// when the catalog cannot be asked: then it learns later.
    pub async fn start(&self, wants: Wants, stop: CancellationToken) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let Some(shared) = self.shared.clone() else { return tasks };
        let cursor = SymbolCursor::default();
        let mut exchange = Exchange {
            shared: shared.clone(),
            wants,
            cursor,
            is_up_to_date: false,
            told: Instant::now(),
        };
        if let Err(error) = exchange.learn().await {
            warn!(%error, "cannot read which symbol tables there are; tried again soon");
        }
        for _ in 0..PUBLISHERS {
            tasks.spawn(shared.clone().publish(stop.clone()));
        }
        tasks.spawn(exchange.run(stop));
        let offering = move || shared.offer_own();
        tasks.spawn(async move {
            if tokio::task::spawn_blocking(offering).await.is_err() {
                warn!("not all own symbol tables are looked at; the log says why");
            }
        });
        tasks
    }
}

fn days(time: Duration) -> i64 {
    i64::try_from(time.as_secs() / 86_400).unwrap_or(i64::MAX)
}

// === impl Exchange ===

impl Exchange {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = EVERY.mul_f64(0.75 + fastrand::f64() / 4.0);
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.shared.wanted.notified() => sleep(GATHER).await,
                () = sleep(pause.saturating_sub(self.told.elapsed())) => {}
            }
            let exchanged = tokio::select! {
                () = stop.cancelled() => break,
                exchanged = self.round() => exchanged,
            };
            if let Err(error) = exchanged {
                self.shared.metrics.symbol_exchange_failures.inc();
                if let Some(silent) = self.shared.log.allow() {
                    let text = "cannot exchange symbol tables with other collectors; tried again";
                    warn!(%error, silent, "{text}");
                }
            }
        }
        self.end().await;
    }

    async fn round(&mut self) -> Result<(), CatalogError> {
        let wanted = self.shared.claims().wanted(Instant::now());
        let is_due = self.told.elapsed() >= EVERY / 2;
        if wanted.is_empty() && !is_due {
            return Ok(());
        }
        let taken = self.take(&wanted).await;
        let granted = taken.as_ref().cloned().unwrap_or_default();
        let now = Instant::now();
        for (claim, offered) in wanted {
            let is_granted = granted.contains(&claim.name());
            let is_needed = self.shared.index().lacks(&claim.object, offered);
            self.shared.claims().settle(claim, is_granted, is_needed, now);
        }
        self.shared.granted.send_replace(());
        if is_due {
            self.told = Instant::now();
        }
        taken?;
        if is_due {
            self.review().await?;
            self.note_uses().await?;
        }
        Ok(())
    }

    /// Takes claims, and learns then what there is: whoever had one of them has published before it gave
    /// the claim back.
    async fn take(
        &mut self,
        wanted: &[(Claim, Option<SymbolLevel>)],
    ) -> Result<HashSet<String>, CatalogError> {
        let names: Vec<String> = wanted.iter().map(|(claim, _)| claim.name()).collect();
        let granted = self.lease(&names).await?;
        self.learn().await?;
        Ok(granted)
    }

    async fn lease(&self, names: &[String]) -> Result<HashSet<String>, CatalogError> {
        if names.is_empty() {
            return Ok(HashSet::new());
        }
        let Shared { store, holder, claim, .. } = &*self.shared;
        store.catalog().lease_all(names, holder, *claim, clock::unix_nanos()).await
    }

    /// Reads what has changed.
    async fn learn(&mut self) -> Result<(), CatalogError> {
        loop {
            let catalog = self.shared.store.catalog();
            let (changes, cursor) = catalog.symbol_changes(self.cursor, PAGE).await?;
            let count = changes.len();
            let gained = self.shared.learn(changes);
            gained.iter().for_each(|id| self.wants.found(id));
            self.cursor = cursor;
            if count < PAGE as usize {
                break;
            }
        }
        if !self.is_up_to_date {
            self.is_up_to_date = true;
            let known: HashSet<_> = self.shared.index().tables().map(|table| table.id).collect();
            self.shared.copies.retain(|id| known.contains(&id));
            info!(tables = known.len(), "symbol tables of all collectors are known");
        }
        Ok(())
    }

    /// Renews claims on objects about which something is done, and gives the others back.
    async fn review(&self) -> Result<(), CatalogError> {
        let held = self.shared.claims().held();
        let busy = held.into_iter().filter(|claim| {
            claim.work == Work::Upload
                && (self.wants.is_busy(&claim.object) || self.shared.is_at_work(&claim.object))
        });
        let busy: HashSet<Claim> = busy.collect();
        let review = self.shared.claims().review(&busy, Instant::now());
        let names = |claims: &[Claim]| claims.iter().map(Claim::name).collect::<Vec<_>>();
        let renewed = self.lease(&names(&review.renew)).await?;
        let now = Instant::now();
        for claim in &review.renew {
            let granted = renewed.contains(&claim.name());
            self.shared.claims().renewed(claim, granted, now);
        }
        self.release(&review.release).await
    }

    async fn release(&self, claims: &[Claim]) -> Result<(), CatalogError> {
        if claims.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = claims.iter().map(Claim::name).collect();
        // What is not given back ends by itself.
        self.shared.store.catalog().release_all(&names, &self.shared.holder).await
    }

    async fn note_uses(&self) -> Result<(), CatalogError> {
        let used: Vec<ObjectId> = self.shared.used().drain().collect();
        if used.is_empty() {
            return Ok(());
        }
        let today = self.shared.store.today();
        // What fails is seen again.
        self.shared.store.catalog().use_symbols(&used, today).await?;
        self.shared.index_mut().used(&used, today);
        Ok(())
    }

    /// Leaves nothing for which others would have to wait.
    async fn end(self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let held = self.shared.claims().held();
        let released = tokio::time::timeout(FAREWELL, self.release(&held)).await;
        if !matches!(released, Ok(Ok(()))) {
            info!(claims = held.len(), "claims on objects end by themselves");
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Takes changes over; gives the objects that have another table now.
    pub(super) fn learn(&self, changes: Vec<SymbolTable>) -> Vec<ObjectId> {
        if changes.is_empty() {
            return Vec::new();
        }
        let news = self.index_mut().apply(changes);
        news.lost.iter().for_each(|id| self.copies.remove(*id));
        // Its file was damaged, unless profiles that refer to it are too old.
        let first = self.store.today().saturating_sub(days(self.keep));
        let missed = news.missed.iter().filter(|table| table.used >= first);
        missed
            .filter(|table| self.has_settled(&table.object))
            .for_each(|it| self.offer(&it.object));
        news.gained
    }

    /// Looks at all own tables to which profiles may refer.
    fn offer_own(&self) {
        let first = self.store.today().saturating_sub(days(self.keep));
        for (id, _) in self.catalog.all() {
            let made = self.catalog.names_of(&id).and_then(|names| made(&names));
            if made.is_some_and(|made| self.day_of(made) >= first) {
                self.offer(&id);
            }
        }
    }

    /// Whether an object's own symbols are here, or there can be none.
    pub(super) fn has_settled(&self, id: &ObjectId) -> bool {
        let names = self.catalog.names_of(id);
        match names {
            // Elsewhere it may be converted.
            Some(NamesOf::Failed(Failure { retry_at: Some(_), .. }) | NamesOf::Waiting) | None => {
                false
            }
            Some(NamesOf::Table { .. } | NamesOf::Listing(_) | NamesOf::Failed(_)) => true,
        }
    }

    /// The day of a moment, by which uses are noted.
    pub(super) fn day_of(&self, time: SystemTime) -> i64 {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        days(since).min(self.store.today())
    }

    /// Whether an object is here and the others will have its table.
    fn is_at_work(&self, id: &ObjectId) -> bool {
        self.queue().contains(id) || self.catalog.waits(id).is_some()
    }
}
