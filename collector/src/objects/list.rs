//! Objects for people: what is there, what is missing, what failed and why.

use std::collections::HashSet;

use fleetprof_proto::{
    ids::{BuildId, ObjectId},
    v1::{ListObjectsRequest, ListObjectsResponse, ObjectInfo, ObjectState},
};
use fleetprof_store::{SymbolContent, SymbolTable};
use fleetprof_symbolizer::TableFile;

use super::{
    Lookups, Wants,
    catalog::{Catalog, NamesOf, Stored, Table},
    pool::why_of,
};

/// Most that are given at a time.
const MAX_OBJECTS: usize = 10_000;

/// What the request asks for; reads the tables of those that are given.
pub(super) fn list(
    catalog: &Catalog,
    wants: &Wants,
    lookups: &Lookups,
    request: &ListObjectsRequest,
) -> ListObjectsResponse {
    let wanted = wants.all().into_iter().map(|wanted| {
        let info = ObjectInfo {
            id: Some((&wanted.id).into()),
            state: ObjectState::Wanted.into(),
            path: wanted.path.to_string(),
            attempts: wanted.attempts,
            ..ObjectInfo::default()
        };
        (wanted.id, info)
    });
    let all = catalog.all();
    let shared: HashSet<BuildId> =
        all.iter().filter_map(|(_, stored)| stored.shared.clone()).collect();
    let stored = all.into_iter().map(|(id, stored)| {
        let is_shared = shared.contains(&id.build_id);
        let info = ObjectInfo { id: Some((&id).into()), ..describe(&stored, is_shared) };
        (id, info)
    });
    let elsewhere = elsewhere(catalog, wants);
    let asked =
        |info: &ObjectInfo| request.states.is_empty() || request.states.contains(&info.state);
    let mut found: Vec<_> =
        wanted.chain(stored).chain(elsewhere).filter(|(_, info)| asked(info)).collect();
    let urgency = |state: i32| match ObjectState::try_from(state) {
        Ok(ObjectState::Failed) => 0,
        Ok(ObjectState::Wanted) => 1,
        Ok(ObjectState::Waiting) => 2,
        _ => 3,
    };
    found.sort_by(|(a, left), (b, right)| {
        let key = |info: &ObjectInfo| (urgency(info.state), info.path.clone());
        key(left).cmp(&key(right)).then_with(|| a.cmp(b))
    });
    let total = found.len() as u64;
    let limit = match request.limit {
        0 => MAX_OBJECTS,
        limit => MAX_OBJECTS.min(limit as usize),
    };
    let objects = found.into_iter().take(limit).map(|(id, mut info)| {
        if let Some(NamesOf::Table { path, .. }) = catalog.names_of(&id) {
            // One that is damaged is made again when it is needed.
            let sources = TableFile::sources_of(&path).unwrap_or_default();
            info.sources = sources.names().map(str::to_owned).collect();
        }
        info.debuginfod = lookups.says(&id, catalog).unwrap_or_default();
        info
    });
    ListObjectsResponse { objects: objects.collect(), total }
}

/// Objects that other collectors had, and whose symbols all have.
fn elsewhere(catalog: &Catalog, wants: &Wants) -> Vec<(ObjectId, ObjectInfo)> {
    let tables = wants.pool().tables().into_iter().filter(|table| !catalog.contains(&table.object));
    let describe = |table: SymbolTable| {
        let (state, reason) = match &table.content {
            SymbolContent::None(why) => (ObjectState::Failed, why_of(why)),
            _ => (ObjectState::Ready, "converted by another collector"),
        };
        let info = ObjectInfo {
            id: Some((&table.object).into()),
            state: state.into(),
            table_bytes: table.content.blob().map_or(0, |blob| blob.bytes),
            reason: reason.to_owned(),
            ..ObjectInfo::default()
        };
        (table.object, info)
    };
    tables.map(describe).collect()
}

fn describe(stored: &Stored, is_shared: bool) -> ObjectInfo {
    let (state, reason) = match (&stored.table, stored.file) {
        // Its binary was neither seen on a host nor uploaded, or there is none.
        (_, None) if is_shared => {
            (ObjectState::Ready, "debug information that objects have in common".to_owned())
        }
        (_, None) => (ObjectState::Waiting, "only its debug file is there".to_owned()),
        (Table::Failed(failure), _) => (ObjectState::Failed, failure.why.to_string()),
        _ if stored.needs_table() => (ObjectState::Waiting, String::new()),
        _ => (ObjectState::Ready, String::new()),
    };
    let table_bytes = stored.table.bytes();
    ObjectInfo {
        state: state.into(),
        path: stored.path.to_string(),
        bytes: stored.all_bytes() - table_bytes,
        table_bytes,
        reason,
        ..ObjectInfo::default()
    }
}
