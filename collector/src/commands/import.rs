//! `import`.

use std::process::ExitCode;

use fleetprof_store::ImportStep;

use super::{
    place::Place,
    screen::{self, Progress},
};
use crate::args::{Format, ImportArgs};

pub(super) async fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let place = Place::open(&args.place).await?;
    let progress = Progress::new();
    let show = |step| {
        progress.show(|| match step {
            ImportStep::Checked(pairs, of) => format!("checking: {pairs} of {of} pairs"),
            ImportStep::Copied(pairs, of) => format!("importing: {pairs} of {of} pairs"),
        });
    };
    let imported = place.store.import(&args.dir, args.force, show).await?;
    drop(progress);
    match args.output.format {
        Format::Json => screen::print_json(&imported)?,
        Format::Table => screen::print(&format!(
            "{} pairs of files imported, {} skipped: they were here or were imported before\n",
            imported.imported, imported.skipped
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}
