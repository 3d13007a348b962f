//! One module per command: validated arguments and a [`Session`] in, printed answers out.

mod completions;
mod labels;
mod missing;
mod objects;
mod pprof;
mod series;
mod services;
mod status;
mod top;

use std::{
    future::Future,
    time::{SystemTime, UNIX_EPOCH},
};

use fleetprof_proto::v1::{Coverage, Query};

use crate::{
    args::{Cli, Command, ConnectionArgs, RangeArgs},
    client::{Client, ClientError},
    error::CliError,
    output::coverage,
    screen::Screen,
    target::Target,
};

/// A collector to ask, a screen to answer on, and the instant that `now` means throughout.
struct Session {
    client: Client,
    screen: Screen,
}

/// Runs the command of the command line.
pub(crate) async fn run(cli: Cli, screen: Screen) -> Result<(), CliError> {
    let connection = &cli.connection;
    match &cli.command {
        Command::Services(args) => services::run(args, connection, screen).await,
        Command::Labels(args) => labels::run(args, connection, screen).await,
        Command::Pprof(args) => pprof::run(args, connection, screen).await,
        Command::Top(args) => top::run(args, connection, screen).await,
        Command::Series(args) => series::run(args, connection, screen).await,
        Command::Status(args) => status::run(args, connection, screen).await,
        Command::Objects(args) => objects::run(args, connection, screen).await,
        Command::Completions(args) => completions::run(args, screen),
    }
}

// === impl Session ===

impl Session {
    /// Connects. Commands validate all of their arguments before, so that a slip of the fingers is
    /// reported without waiting for anybody.
    async fn open(connection: &ConnectionArgs, screen: Screen) -> Result<Self, CliError> {
        let doing = || format!("connecting to {}", connection.collector);
        let client = screen.waiting(doing, Client::connect(connection)).await?;
        Ok(Self { client, screen })
    }

    /// Awaits an answer with progress.
    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, CliError> {
        let doing = || format!("asking {}", self.client.url());
        Ok(self.screen.waiting(doing, question).await?)
    }

    /// What follows a table: what it was made from. Scripts that asked for JSON are told only of what
    /// is missing.
    fn note_coverage(&self, coverage: &Coverage, for_people: bool) {
        if for_people && coverage.samples > 0 {
            self.screen.note(&coverage::summary(coverage));
        }
        if let Some(damage) = coverage::damage(coverage) {
            self.screen.warn(&damage);
        }
    }
}

/// The question that every request carries.
fn query(target: &Target, range: &RangeArgs) -> Result<Query, CliError> {
    let range = range.resolve(now_unix_nanos()?)?;
    Ok(Query {
        start_unix_nanos: range.start_unix_nanos(),
        end_unix_nanos: range.end_unix_nanos(),
        selector: target.selector(),
    })
}

fn now_unix_nanos() -> Result<i64, CliError> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| CliError::Clock)?;
    i64::try_from(since_epoch.as_nanos()).map_err(|_| CliError::Clock)
}
