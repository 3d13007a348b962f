//! `fleetprof top`: the functions with the most CPU.

use fleetprof_proto::{
    symbol::Reason,
    v1::{TopOrder, TopRequest, TopResponse},
};

use super::{Session, missing, query};
use crate::{
    args::{ConnectionArgs, Format, Sort, TopArgs},
    error::CliError,
    output::{
        coverage, json,
        table::{Layout, Table},
        text::{self, Cut},
        units,
    },
    screen::Screen,
};

pub(super) async fn run(
    args: &TopArgs,
    connection: &ConnectionArgs,
    screen: Screen,
) -> Result<(), CliError> {
    let target = args.target.resolve()?;
    let query = query(&target, &args.range)?;
    let session = Session::open(connection, screen).await?;
    let limit = args.limit();
    let request = TopRequest {
        query: Some(query.clone()),
        // One more than shown tells whether there are more.
        limit: if limit == 0 { 0 } else { limit.saturating_add(1) },
        order: match args.sort {
            Sort::Own => TopOrder::Self_,
            Sort::Total => TopOrder::Total,
        }
        .into(),
    };
    let mut answer = session.ask(session.client.top(request)).await?;

    let rows = usize::try_from(limit).unwrap_or(usize::MAX);
    let cut = limit > 0 && answer.functions.len() > rows;
    if cut {
        answer.functions.truncate(rows);
    }
    let for_people = args.format.format == Format::Table;
    let text = if for_people {
        table(&answer).render(screen.medium(args.format.width))
    } else {
        json::functions(&answer.functions)?
    };
    screen.print(&text)?;
    if answer.functions.is_empty() {
        screen.note(&missing::hint(&query));
    } else if for_people && cut {
        screen.note(&format!("the first {limit} functions; --limit 0 shows all"));
    }
    if for_people && let Some(note) = unnamed(&answer) {
        screen.note(&note);
    }
    session.note_coverage(&answer.coverage.unwrap_or_default(), for_people);
    Ok(())
}

fn table(answer: &TopResponse) -> Table {
    let covered = answer.coverage.as_ref().map_or(0, coverage::covered_nanos);
    let whole = answer.total_nanos;
    let mut table = Table::new(&[
        ("CORES", Layout::Number),
        ("SELF", Layout::Number),
        ("SELF%", Layout::Number),
        ("TOTAL", Layout::Number),
        ("TOTAL%", Layout::Number),
        ("FUNCTION", Layout::Flexible(Cut::Middle)),
        ("MODULE", Layout::Flexible(Cut::Middle)),
        ("FILE", Layout::Optional(Cut::Start)),
    ]);
    for function in &answer.functions {
        table.row([
            units::cores(units::cores_of(function.self_nanos, covered)),
            units::duration(function.self_nanos),
            units::percent(function.self_nanos, whole),
            units::duration(function.total_nanos),
            units::percent(function.total_nanos, whole),
            function.function.clone(),
            file_name(&function.module).to_owned(),
            function.file.clone(),
        ]);
    }
    table
}

/// How much of the CPU is in code without a name, and why; `None` when all has names.
fn unnamed(answer: &TopResponse) -> Option<String> {
    let share = |nanos| units::percent(nanos, answer.total_nanos);
    let sum = answer.unnamed.iter().fold(0_u64, |sum, it| sum.saturating_add(it.self_nanos));
    let reasons: Vec<_> = answer
        .unnamed
        .iter()
        .map(|it| match Reason::from_name(&it.reason) {
            Some(reason) => format!("{} {reason}", share(it.self_nanos)),
            None => format!("{} {}", share(it.self_nanos), text::clean(&it.reason)),
        })
        .collect();
    (sum > 0).then(|| {
        format!(
            "{} of the CPU is in code without a name: {} (fleetprof objects says more)",
            share(sum),
            reasons.join(", ")
        )
    })
}

/// The last part of a path: in a table of functions, `libc.so.6` says what its directory does not.
fn file_name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}
