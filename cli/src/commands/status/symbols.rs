//! `fleetprof status --symbols`: how much of the code of each service has names.

use fleetprof_proto::v1::{SymbolQuality, SymbolsRequest};

use crate::{
    args::{ConnectionArgs, Format, StatusArgs},
    commands::{Session, missing, query},
    error::CliError,
    output::{
        json,
        table::{Layout, Table},
        text::{self, Cut},
        units,
    },
    screen::Screen,
    target::Target,
};

pub(super) async fn run(
    args: &StatusArgs,
    connection: &ConnectionArgs,
    screen: Screen,
) -> Result<(), CliError> {
    let target = Target::from_selector(args.selector.as_deref())?;
    let query = query(&target, &args.range)?;
    let session = Session::open(connection, screen).await?;
    let request = SymbolsRequest { query: Some(query.clone()) };
    let answer = session.ask(session.client.symbols(request)).await?;
    let for_people = args.format.format == Format::Table;
    let text = if for_people {
        table(&answer.services).render(screen.medium(args.format.width))
    } else {
        json::symbols(&answer.services)?
    };
    screen.print(&text)?;
    if answer.services.is_empty() {
        screen.note(&missing::hint(&query));
    }
    session.note_coverage(&answer.coverage.unwrap_or_default(), for_people);
    Ok(())
}

fn table(services: &[SymbolQuality]) -> Table {
    let mut table = Table::new(&[
        ("FRAMES", Layout::Number),
        ("NAMED", Layout::Number),
        ("LINES", Layout::Number),
        ("SERVICE", Layout::Flexible(Cut::End)),
        ("VERSION", Layout::Flexible(Cut::End)),
        ("UNRESOLVED", Layout::Flexible(Cut::End)),
    ]);
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    for it in services {
        let reasons: Vec<_> = it
            .unresolved
            .iter()
            .map(|reason| {
                let share = units::percent(reason.value, it.frames);
                format!("{} {share}", text::clean(&reason.name))
            })
            .collect();

        table.row([
            units::count(it.frames),
            units::percent(it.named, it.frames),
            units::percent(it.with_lines, it.frames),
            it.service.clone(),
            or_none(it.version.clone()),
            or_none(reasons.join(", ")),
        ]);
    }
    table
}
