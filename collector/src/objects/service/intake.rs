//! One upload from its header to its place: is it needed, is there room, what of it is there, what is it.

use std::io;

use fleetprof_proto::{
    chunk::{MAX_CHUNK_BYTES, unpack},
    ids::{ObjectId, ObjectKind},
    v1::{UploadRequest, upload_request::Message},
};
use fleetprof_symbolizer::identity::SymbolLevel;
use tonic::{Status, Streaming};

use super::{Announced, Kept, MAX_MESSAGE_BYTES, Objects, internal};
use crate::objects::{
    catalog::{Format, Replace, Reservation},
    receive::{Incoming, Unacceptable},
};

// === impl Objects ===

impl Objects {
    /// Whether nothing is gained by an upload. One that was asked for is taken once; one that says more
    /// is taken as well, and what came without an id may.
    pub(super) async fn is_needless(&self, announced: &Announced) -> Result<bool, Status> {
        let Some((id, format)) = announced.what.clone() else { return Ok(false) };
        // Another collector has all that can be said of it. What says less may be asked for here, as the
        // first of several files.
        let pool = self.wants.pool();
        let is_whole = match format {
            Format::Elf => pool.level(&id) == Some(SymbolLevel::DebugInfo),
            Format::Kallsyms => pool.has(&id),
            Format::Debug | Format::Split => false,
        };
        if is_whole {
            return Ok(true);
        }
        let Some(level) = announced.level else { return Ok(self.catalog.has_any(&id, format)) };
        let catalog = self.catalog.clone();
        // Looks into the file that is there.
        let as_good = move || catalog.has_as_good(&id, format, level);
        self.pool.run(as_good).await.map_err(internal)
    }

    /// Promises space to an upload, at the cost of some that broke off.
    pub(super) fn reserve(&self, announced: &Announced, bytes: u64) -> Result<Reservation, Status> {
        let is_new = announced.id().is_none_or(|id| !self.catalog.contains(id));
        if is_new && self.catalog.count() >= self.config.max_objects {
            let text = "there are as many objects as may be (--max-objects)";
            return Err(self.count("quota", Status::resource_exhausted(text)));
        }
        loop {
            if let Some(reservation) = self.catalog.reserve(bytes) {
                return Ok(reservation);
            }
            if !self.partials.make_room(announced.key()) && !self.wants.pool().make_room() {
                let text = "the quota for objects is used up (--object-quota)";
                return Err(self.count("quota", Status::resource_exhausted(text)));
            }
        }
    }

    pub(super) async fn require_room(
        &self,
        announced: &Announced,
        bytes: u64,
    ) -> Result<(), Status> {
        let (catalog, partials, key) =
            (self.catalog.clone(), self.partials.clone(), announced.key());
        let pool = self.wants.pool().clone();
        let look = move || {
            loop {
                match catalog.has_room(bytes) {
                    Ok(false) if partials.make_room(key) || pool.make_room() => {}
                    other => return other,
                }
            }
        };
        match self.pool.run(look).await.map_err(internal)? {
            Ok(true) => Ok(()),
            Ok(false) => {
                let text = "the collector's disk has too little space for objects";
                Err(self.count("disk", Status::resource_exhausted(text)))
            }
            Err(error) => Err(self.refuse(announced.id(), &announced.path, &error.into())),
        }
    }

    /// The file that an upload is received in, with what is there of it.
    pub(super) async fn begin(&self, announced: &Announced) -> Result<Incoming, Status> {
        let refuse = |error: Unacceptable| self.refuse(announced.id(), &announced.path, &error);
        let (partials, scratch, size) =
            (self.partials.clone(), self.scratch.clone(), announced.size);
        let (Some(key), Some(kept)) = (announced.key(), announced.kept) else {
            let space = self.reserve(announced, size)?;
            self.require_room(announced, size).await?;
            let key = announced.key();
            let create = move || match key {
                Some(key) => Incoming::create_resumable(&partials, key, size, space),
                None => Incoming::create(&scratch, size, space),
            };
            let created = self.pool.run(create).await.map_err(internal)?;
            return created.map_err(|error| refuse(error.into()));
        };
        let take = move || {
            let taken = partials.take(key, &kept)?;
            Ok(taken.map(|taken| Incoming::resume(&partials, key, size, taken)))
        };
        let taken: io::Result<_> = self.pool.run(take).await.map_err(internal)?;
        let Some(mut incoming) = taken.map_err(|error| refuse(error.into()))? else {
            let text = "the beginning of the object is not there any more: send all of it";
            return Err(self.count("resume", Status::failed_precondition(text)));
        };
        let missing = size.saturating_sub(incoming.space().bytes());
        let rest = self.reserve(announced, missing)?;
        incoming.space().join(rest);
        self.require_room(announced, size.saturating_sub(kept.bytes)).await?;
        self.metrics.objects_resumed.inc();
        Ok(incoming)
    }

    pub(super) async fn receive(
        &self,
        requests: &mut Streaming<UploadRequest>,
        announced: &Announced,
    ) -> Result<Incoming, Status> {
        let refuse = |error: Unacceptable| self.refuse(announced.id(), &announced.path, &error);
        let mut incoming = self.begin(announced).await?;
        while let Some(message) = self.next(requests).await? {
            let (chunk, is_packed) = match message {
                Message::Header(_) => {
                    return Err(Status::invalid_argument("a second header in one upload"));
                }
                Message::Chunk(chunk) => (chunk, false),
                Message::Packed(chunk) => (chunk, true),
            };
            if chunk.len() > MAX_MESSAGE_BYTES {
                let text = format!("chunk of {} bytes: at most {MAX_CHUNK_BYTES}", chunk.len());
                return Err(Status::invalid_argument(text));
            }
            let write = move || {
                let chunk = if is_packed { unpack(&chunk)? } else { chunk };
                incoming.write(&chunk).map(|()| incoming)
            };
            incoming = self.pool.run(write).await.map_err(internal)?.map_err(refuse)?;
        }
        Ok(incoming)
    }

    pub(super) async fn keep(
        &self,
        mut incoming: Incoming,
        announced: &Announced,
    ) -> Result<Kept, Status> {
        let (catalog, path) = (self.catalog.clone(), announced.path.clone());
        let what = announced.what.clone();
        let may_replace = what.is_none() || announced.level.is_some();
        let keep = move || -> Result<Kept, Unacceptable> {
            let (id, format) = match what {
                Some(what) => what,
                None => identify(&incoming)?,
            };
            if !catalog.can_hold(&id) {
                return Err(Unacceptable::IdTooLong);
            }
            let bytes = incoming.finish(&id, format)?;
            incoming.space().shrink_to(bytes);
            let replace = match may_replace {
                // What it says counts, not what was said of it.
                true => Replace::Worse(incoming.identify()?.contents.level()),
                false => Replace::Never,
            };
            let new = catalog.adopt(&id, format, incoming.path(), incoming.reserved(), replace)?;
            if !matches!(format, Format::Debug | Format::Split) {
                catalog.describe(&id, &path);
            }
            Ok(Kept { id, format, new })
        };
        let kept = self.pool.run(keep).await.map_err(internal)?;
        kept.map_err(|error| self.refuse(announced.id(), &announced.path, &error))
    }
}

/// What a file is that came without an id.
fn identify(incoming: &Incoming) -> Result<(ObjectId, Format), Unacceptable> {
    let identity = incoming.identify()?;
    let contents = identity.contents;
    if contents.split_units && !contents.code && !contents.debug_info {
        return Err(Unacceptable::WhoseUnits);
    }
    let format = if identity.contents.code { Format::Elf } else { Format::Debug };
    Ok((ObjectId { kind: ObjectKind::File, build_id: identity.build_id().clone() }, format))
}
