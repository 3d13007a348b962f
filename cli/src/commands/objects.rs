//! `fleetprof objects`: which binaries and symbol files the collector has, lacks or cannot use.

mod upload;

use fleetprof_proto::{
    ids::ObjectId,
    v1::{self, ListObjectsRequest, ObjectInfo},
};

use super::Session;
use crate::{
    args::{ConnectionArgs, Format, ObjectState, ObjectsAction, ObjectsArgs},
    error::CliError,
    output::{
        json,
        table::{Layout, Table},
        text::{self, Cut},
        units,
    },
    screen::Screen,
};

pub(super) async fn run(
    args: &ObjectsArgs,
    connection: &ConnectionArgs,
    screen: Screen,
) -> Result<(), CliError> {
    if let Some(ObjectsAction::Upload(args)) = &args.action {
        return upload::run(args, connection, screen).await;
    }
    let states = args.state.iter().map(|state| wire(*state).into()).collect();
    let request = ListObjectsRequest { states, limit: args.limit() };
    let session = Session::open(connection, screen).await?;
    let answer = session.ask(session.client.list_objects(request)).await?;
    if args.format.format == Format::Json {
        return screen.print(&json::objects(&answer.objects, id, state)?);
    }
    if answer.objects.is_empty() {
        screen.note("no objects; agents are asked for the binaries that their samples hit");
        return Ok(());
    }
    screen.print(&table(&answer.objects).render(screen.medium(args.format.width)))?;
    let shown = answer.objects.len() as u64;
    if shown < answer.total {
        let (shown, total) = (units::count(shown), units::count(answer.total));
        screen.note(&format!("{shown} of {total} objects shown; --limit 0 for all"));
    }
    Ok(())
}

fn table(objects: &[ObjectInfo]) -> Table {
    let mut table = Table::new(&[
        ("STATE", Layout::Word),
        ("ASKED", Layout::Number),
        ("SIZE", Layout::Number),
        ("TABLE", Layout::Number),
        ("SYMBOLS", Layout::Flexible(Cut::End)),
        ("PATH", Layout::Flexible(Cut::Start)),
        ("OBJECT", Layout::Word),
    ]);
    let or_none = |value: u64, text: String| if value == 0 { "-".to_owned() } else { text };
    for object in objects {
        let symbols = symbols(object);
        table.row([
            state(object).to_owned(),
            or_none(object.attempts.into(), units::count(object.attempts.into())),
            or_none(object.bytes, units::bytes(object.bytes)),
            or_none(object.table_bytes, units::bytes(object.table_bytes)),
            if symbols.is_empty() { "-".to_owned() } else { symbols },
            text::clean(&object.path),
            id(object),
        ]);
    }
    table
}

/// What the table was made from, or why there is none, and how it stands with what could be added.
fn symbols(object: &ObjectInfo) -> String {
    let symbols = match object.reason.as_str() {
        "" => object.sources.join(" "),
        reason => text::clean(reason),
    };
    match (symbols.as_str(), object.debuginfod.as_str()) {
        (_, "") => symbols,
        ("", said) => format!("debuginfod: {}", text::clean(said)),
        (_, said) => format!("{symbols}; debuginfod: {}", text::clean(said)),
    }
}

/// What the object is called; one that this version does not understand has no name.
fn id(object: &ObjectInfo) -> String {
    name(object.id.as_ref())
}

fn name(id: Option<&v1::ObjectId>) -> String {
    let id = id.and_then(|id| ObjectId::try_from(id).ok());
    id.map_or_else(|| "unknown".to_owned(), |id| id.to_string())
}

fn state(object: &ObjectInfo) -> &'static str {
    match object.state() {
        v1::ObjectState::Wanted => "wanted",
        v1::ObjectState::Waiting => "waiting",
        v1::ObjectState::Ready => "ready",
        v1::ObjectState::Failed => "failed",
        v1::ObjectState::Unspecified => "unknown",
    }
}

fn wire(state: ObjectState) -> v1::ObjectState {
    match state {
        ObjectState::Wanted => v1::ObjectState::Wanted,
        ObjectState::Waiting => v1::ObjectState::Waiting,
        ObjectState::Ready => v1::ObjectState::Ready,
        ObjectState::Failed => v1::ObjectState::Failed,
    }
}
