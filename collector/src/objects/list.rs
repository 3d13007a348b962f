//! Objects for people: what is there, what is missing, what failed and why.

use std::collections::HashSet;

use fleetprof_proto::{
    ids::BuildId,
    v1::{ListObjectsRequest, ListObjectsResponse, ObjectInfo, ObjectState},
};
use fleetprof_symbolizer::TableFile;

use super::{
    Lookups, Wants,
    catalog::{Catalog, NamesOf, Stored, Table},
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
    let asked =
        |info: &ObjectInfo| request.states.is_empty() || request.states.contains(&info.state);
    let mut found: Vec<_> = wanted.chain(stored).filter(|(_, info)| asked(info)).collect();
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
