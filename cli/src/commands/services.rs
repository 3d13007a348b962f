//! `fleetprof services`: the services of the fleet by CPU.

use fleetprof_proto::v1::{ServiceUsage, ServicesRequest};

use super::{Session, missing, query};
use crate::{
    args::{ConnectionArgs, Format, ServicesArgs},
    error::CliError,
    output::{
        json,
        table::{Layout, Table},
        text::Cut,
        units,
    },
    screen::Screen,
    target::Target,
};

pub(super) async fn run(
    args: &ServicesArgs,
    connection: &ConnectionArgs,
    screen: Screen,
) -> Result<(), CliError> {
    let target = Target::from_selector(args.selector.as_deref())?;
    let query = query(&target, &args.range)?;
    let session = Session::open(connection, screen).await?;
    let request = ServicesRequest { query: Some(query.clone()) };
    let answer = session.ask(session.client.services(request)).await?;

    let shown = shown(&answer.services, args.limit);
    let for_people = args.format.format == Format::Table;
    let text = if for_people {
        // Shares are of everything, also where only some rows are shown.
        table(shown, &answer.services).render(screen.medium(args.format.width))
    } else {
        json::services(shown)?
    };
    screen.print(&text)?;
    if answer.services.is_empty() {
        screen.note(&missing::hint(&query));
    } else if for_people && shown.len() < answer.services.len() {
        screen.note(&format!("{} of {} services shown", shown.len(), answer.services.len()));
    }
    session.note_coverage(&answer.coverage.unwrap_or_default(), for_people);
    Ok(())
}

fn shown(services: &[ServiceUsage], limit: u32) -> &[ServiceUsage] {
    match usize::try_from(limit) {
        Ok(limit) if limit > 0 => &services[..services.len().min(limit)],
        _ => services,
    }
}

fn table(shown: &[ServiceUsage], all: &[ServiceUsage]) -> Table {
    let whole = all.iter().fold(0, |sum: u64, service| sum.saturating_add(service.cpu_nanos));
    let mut table = Table::new(&[
        ("CORES", Layout::Number),
        ("SHARE", Layout::Number),
        ("CPU TIME", Layout::Number),
        ("SAMPLES", Layout::Number),
        ("SERVICE", Layout::Flexible(Cut::End)),
    ]);
    for service in shown {
        table.row([
            units::cores(service.cores),
            units::percent(service.cpu_nanos, whole),
            units::duration(service.cpu_nanos),
            units::count(service.samples),
            service.service.clone(),
        ]);
    }
    table
}
