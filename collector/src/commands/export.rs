//! `export`.

use std::process::ExitCode;

use anyhow::Context as _;
use fleetprof_proto::time_range::TimeRange;
use fleetprof_store::{ExportLevel, ExportWish, Manifest};

use super::{
    FINDINGS,
    place::Place,
    screen::{self, Progress, size},
};
use crate::{
    args::{ExportArgs, Format},
    clock,
};

pub(super) async fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let range = TimeRange::parse(&args.from, &args.to, clock::unix_nanos())
        .context("--from and --to are no range")?;
    let wish = ExportWish {
        range: (range.start_unix_nanos(), range.end_unix_nanos()),
        services: (!args.service.is_empty()).then(|| args.service.clone()),
        level: args.level.level(),
    };
    let place = Place::existing(&args.place).await?;
    let progress = Progress::new();
    let show = |pairs| progress.show(|| format!("exporting: {pairs} pairs of files"));
    let manifest = place.store.export(&wish, &args.output, show).await?;
    drop(progress);
    for lack in &manifest.lacks {
        eprintln!("warning: lacking: {lack}");
    }
    match args.format {
        Format::Json => screen::print_json(&Answer::new(&manifest))?,
        Format::Table => screen::print(&summary(&manifest, args, wish.level))?,
    }
    Ok(if manifest.lacks.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) })
}

/// For programs; the whole is in the manifest.
#[derive(serde::Serialize)]
struct Answer<'a> {
    pairs: usize,
    bytes: u64,
    lacks: &'a [String],
}

// === impl Answer ===

impl<'a> Answer<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        let bytes = manifest.files.iter().map(|file| file.samples.bytes + file.stacks.bytes);
        Self { pairs: manifest.files.len(), bytes: bytes.sum(), lacks: &manifest.lacks }
    }
}

fn summary(manifest: &Manifest, args: &ExportArgs, level: ExportLevel) -> String {
    let answer = Answer::new(manifest);
    let dir = args.output.display();
    let levels = if level == ExportLevel::All { "hourly" } else { "*" };
    format!(
        "{} pairs of files ({}) in {dir}; queries: read_parquet('{dir}/{levels}/*.samples.parquet')\n",
        answer.pairs,
        size(answer.bytes)
    )
}
