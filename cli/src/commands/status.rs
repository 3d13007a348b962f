//! `fleetprof status`: the collector's and its agents' state, and what was lost on the way.

mod symbols;

use fleetprof_proto::v1::{Accounting, AgentStatus, ObjectsStatus, StatusResponse};

use super::{Session, now_unix_nanos};
use crate::{
    args::{ConnectionArgs, Format, StatusArgs},
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
    args: &StatusArgs,
    connection: &ConnectionArgs,
    screen: Screen,
) -> Result<(), CliError> {
    if args.symbols {
        return symbols::run(args, connection, screen).await;
    }
    let now = now_unix_nanos()?;
    let session = Session::open(connection, screen).await?;
    let url = session.client.url().to_string();
    let mut answer = session.ask(session.client.status()).await?;
    if args.format.format == Format::Json {
        return screen.print(&json::status(&url, &answer)?);
    }
    // The living first, then those that went last.
    answer.agents.sort_by_key(|agent| {
        (!agent.connected, std::cmp::Reverse(agent.last_seen_unix_nanos), agent.host.clone())
    });
    let mut out = overview(&url, &answer, now);
    if !answer.agents.is_empty() {
        out.push('\n');
        out.push_str(&agents_table(&answer.agents, now).render(screen.medium(args.format.width)));
        for agent in &answer.agents {
            out.push_str(&losses(agent));
        }
    }
    screen.print(&out)?;
    let damaged = answer.store.map(|store| store.damaged).unwrap_or_default();
    if !damaged.is_empty() {
        let names: Vec<_> = damaged.iter().map(|name| text::clean(name)).collect();
        screen.warn(&format!("the store has parts that cannot be read: {}", names.join(", ")));
    }
    if answer.agents.is_empty() {
        screen.note(&format!(
            "no agent has delivered here; on each host: fleetprof-agent run --collector {url}"
        ));
    }
    Ok(())
}

fn overview(url: &str, answer: &StatusResponse, now: i64) -> String {
    let store = answer.store.clone().unwrap_or_default();
    let objects = answer.objects.unwrap_or_default();
    let mut stored = format!(
        "{} in {}, {}",
        units::counted(store.samples, "sample", "samples"),
        units::counted(store.batches, "batch", "batches"),
        units::bytes(store.bytes),
    );
    if store.batches > 0 {
        let (first, last) = (store.first_unix_nanos, store.last_unix_nanos);
        stored.push_str(&format!(
            ", from {} to {} ({})",
            units::instant(first),
            units::instant(last),
            units::ago(last, now)
        ));
    }
    let connected = answer.agents.iter().filter(|agent| agent.connected).count();
    format!(
        "Collector  {url}, version {}, started {}\n\
         Store      {stored}\n\
         Objects    {} stored, {}{}; {} wanted from agents\n\
         Agents     {connected} connected, {} seen\n",
        text::clean(&answer.version),
        units::ago(answer.start_unix_nanos, now),
        units::count(objects.stored),
        units::bytes(objects.bytes),
        usable(&objects),
        units::count(objects.wanted),
        answer.agents.len(),
    )
}

/// What is there and has no names, if anything.
fn usable(objects: &ObjectsStatus) -> String {
    let part = |count: u64, what: &str| match count {
        0 => String::new(),
        count => format!(", {} {what}", units::count(count)),
    };
    part(objects.waiting, "waiting for their symbol table") + &part(objects.failed, "unusable")
}

fn agents_table(agents: &[AgentStatus], now: i64) -> Table {
    let mut table = Table::new(&[
        ("HOST", Layout::Flexible(Cut::End)),
        ("STATE", Layout::Word),
        ("SEEN", Layout::Number),
        ("TAKEN", Layout::Number),
        ("DELIVERED", Layout::Number),
        ("DROPPED", Layout::Number),
        ("PENDING", Layout::Number),
        ("STORED", Layout::Number),
        ("UNACCOUNTED", Layout::Number),
        ("VERSION", Layout::Word),
        ("INSTANCE", Layout::Word),
    ]);
    let none = || "-".to_owned();
    for agent in agents {
        let accounting = agent.accounting.clone().unwrap_or_default();
        table.row([
            agent.host.clone(),
            if agent.connected { "connected" } else { "gone" }.to_owned(),
            units::ago(agent.last_seen_unix_nanos, now),
            units::count(accounting.taken),
            units::count(accounting.delivered),
            units::count(coverage::sum(&accounting.dropped)),
            // What was on its way when it went has become something else since.
            agent.unaccounted_samples.map_or_else(|| units::count(accounting.pending), |_| none()),
            units::count(agent.stored_samples),
            agent.unaccounted_samples.map_or_else(none, units::count),
            agent.version.clone(),
            agent.instance.chars().take(8).collect(),
        ]);
    }
    table
}

/// Under the table, only what needs attention: drops by reason, stacks that are not complete.
fn losses(agent: &AgentStatus) -> String {
    let Some(accounting) = &agent.accounting else { return String::new() };
    let host = text::clean(&agent.host);
    let line = |what: &str, counters| {
        let dropped = coverage::dropped(counters);
        dropped.map(|dropped| format!("{host}: {what} {dropped}\n")).unwrap_or_default()
    };
    let dropped = line("dropped", &accounting.dropped);
    let recovered = line("dropped of an earlier start's spool", &accounting.recovered_dropped);
    dropped
        + &recovered
        + &results(accounting).map(|it| format!("{host}: stacks {it}\n")).unwrap_or_default()
}

/// How the walks of the stacks ended, in shares: `complete 98.1%, truncated 1.9%`.
fn results(accounting: &Accounting) -> Option<String> {
    let whole = coverage::sum(&accounting.results);
    let mut results: Vec<_> = accounting.results.iter().filter(|it| it.value > 0).collect();
    results.sort_by_key(|result| std::cmp::Reverse(result.value));
    let shares: Vec<_> = results
        .iter()
        .map(|it| format!("{} {}", text::clean(&it.name), units::percent(it.value, whole)))
        .collect();
    (!shares.is_empty()).then(|| shares.join(", "))
}
