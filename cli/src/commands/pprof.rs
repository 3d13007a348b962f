//! `fleetprof pprof`: the merged profile as a file.

mod sink;

use std::cell::Cell;

use fleetprof_proto::v1::{Coverage, ProfileRequest};

use super::{Session, missing, query};
use crate::{
    args::{ConnectionArgs, PprofArgs},
    error::CliError,
    output::{text, units},
    screen::Screen,
};
use sink::Sink;

pub(super) async fn run(
    args: &PprofArgs,
    connection: &ConnectionArgs,
    screen: Screen,
) -> Result<(), CliError> {
    let target = args.target.resolve()?;
    let query = query(&target, &args.range)?;
    // Before asking: a collector should not merge a profile that nobody can write.
    let mut sink = Sink::open(&args.output, screen)?;
    let session = Session::open(connection, screen).await?;
    let request = ProfileRequest { query: Some(query.clone()), without_labels: args.no_labels };
    let (size, coverage) = download(&session, request, &mut sink).await?;
    if coverage.samples == 0 {
        // A file that says nothing would be taken for an answer.
        let hint = missing::hint(&query);
        return Err(CliError::NothingMatches(format!("{hint}\nno file was written")));
    }
    let file = sink.finish()?;
    if let Some(path) = file {
        let path = text::shell_quote(&path.to_string_lossy());
        screen.note(&format!("wrote {path}: {}", units::bytes(size)));
        session.note_coverage(&coverage, true);
        let next = screen.command(&format!("go tool pprof -http=: {path}"));
        screen.note(&format!("look at it with: {next}"));
    } else {
        session.note_coverage(&coverage, true);
    }
    Ok(())
}

/// Streams the profile into the sink: one chunk in memory at a time. Nothing is written before the
/// first bytes are there, and nothing is final before [`Sink::finish`].
async fn download(
    session: &Session,
    request: ProfileRequest,
    sink: &mut Sink,
) -> Result<(u64, Coverage), CliError> {
    let url = session.client.url();
    let size = Cell::new(0_u64);
    let doing = || match size.get() {
        0 => format!("asking {url}"),
        size => format!("receiving from {url}: {}", units::bytes(size)),
    };
    let work = async {
        let mut stream = session.client.profile(request).await?;
        while let Some(chunk) = stream.next().await? {
            sink.write(&chunk)?;
            let received = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            size.set(size.get().saturating_add(received));
        }
        Ok::<_, CliError>(stream.into_coverage()?)
    };
    let coverage = session.screen.waiting(doing, work).await?;
    Ok((size.get(), coverage))
}
