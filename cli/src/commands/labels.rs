//! `fleetprof labels`: names of labels, or the values of one.

use fleetprof_proto::v1::LabelsRequest;

use super::{Session, missing, query};
use crate::{
    args::{ConnectionArgs, Format, LabelsArgs},
    error::CliError,
    output::{json, text},
    screen::Screen,
    target::{Target, is_selector},
};

pub(super) async fn run(
    args: &LabelsArgs,
    connection: &ConnectionArgs,
    screen: Screen,
) -> Result<(), CliError> {
    // `labels '{…}'`: the names of the labels of what matches.
    let (name, selector) = match (args.name.as_deref(), args.selector.as_deref()) {
        (Some(word), None) if is_selector(word) => (None, Some(word)),
        words => words,
    };
    let target = Target::from_selector(selector)?;
    let query = query(&target, &args.range)?;
    let session = Session::open(connection, screen).await?;
    let request =
        LabelsRequest { query: Some(query.clone()), name: name.unwrap_or_default().to_owned() };
    let answer = session.ask(session.client.labels(request)).await?;

    let for_people = args.format.format == Format::Table;
    let text = if for_people {
        answer.values.iter().map(|value| text::clean(value) + "\n").collect()
    } else {
        json::labels(&answer.values)?
    };
    screen.print(&text)?;
    let coverage = answer.coverage.unwrap_or_default();
    if answer.values.is_empty() {
        let hint = match name {
            Some(name) if coverage.samples > 0 => format!(
                "no sample has the label {:?}; `fleetprof labels` lists those that there are",
                text::clean(name)
            ),
            _ => missing::hint(&query),
        };
        screen.note(&hint);
    }
    session.note_coverage(&coverage, for_people);
    Ok(())
}
