//! The committer's binary: opens the store, and publishes it once or all the time.
#![forbid(unsafe_code)]

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Parser as _;
use fleetprof_iceberg::{
    Change, Keep, Metrics, Place, PublishError, Publisher, Root, Round, TableName,
    args::{Args, LogFormat},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    start_log(&args.log, args.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the async runtime")?.block_on(async {
        let mut publisher = Publisher::new(open(args).await?, Keep::default());
        if args.once { once(&mut publisher).await } else { serve(&mut publisher, args).await }
    })
}

async fn open(args: &Args) -> Result<Place, PublishError> {
    let place = match (&args.store, &args.catalog) {
        (Some(store), Some(catalog)) => Place::shared(store, catalog).await?,
        _ => Place::directory(&args.data_dir).await?,
    };
    Ok(match &args.location {
        Some(location) => Place { root: Root::new(location), ..place },
        None => place,
    })
}

async fn once(publisher: &mut Publisher) -> anyhow::Result<()> {
    let text = match publisher.round().await? {
        Round::Busy => "another committer is at it\n".to_owned(),
        Round::Done(changes) => changes.iter().map(line).collect(),
    };
    // Whoever reads it may have seen enough (`| head`): what matters is in the store.
    std::io::stdout().write_all(text.as_bytes()).context("cannot write what was published")
}

fn line((table, change): &(TableName, Change)) -> String {
    let Change { version, added, removed, files, left_out, .. } = change;
    let left_out = match left_out {
        0 => String::new(),
        count => format!(", {count} left out: see the log"),
    };
    let table = table.to_string();
    format!("{table:<15} version {version}: {files} files (+{added} -{removed}){left_out}\n")
}

async fn serve(publisher: &mut Publisher, args: &Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let mut rounds = interval(args.every.max(std::time::Duration::from_secs(1)));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let metrics = Metrics::new(args.every);
    let _server = match args.metrics_listen {
        Some(address) => Some(metrics.clone().serve(address).await?),
        None => None,
    };
    info!(every = %humantime::format_duration(args.every), "publishing");
    loop {
        let round = async {
            rounds.tick().await;
            let started = Instant::now();
            let round = publisher.round().await;
            metrics.round(&round, started.elapsed());
            round
        };
        // A round that is dropped is one that was killed: the next one, of whomever, makes up for it.
        let round = tokio::select! {
            round = round => round,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        match round {
            Ok(Round::Busy) => info!("another committer is at it"),
            Ok(Round::Done(_)) => {}
            Err(error) => error!(%error, "cannot publish; the next round tries again"),
        }
    }
}

fn start_log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("--log {filter:?} is not a filter such as info or debug"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}
