//! `fleetprof objects upload`: files of a build pipeline to the collector.

mod files;

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use fleetprof_proto::{
    chunk::pack,
    v1::{
        self, ObjectFormat, UploadHeader, UploadRequest, UploadResponse, upload_request::Message,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use self::files::{ToSend, What, id_of, to_send};
use super::{Session, name};
use crate::{
    args::{ConnectionArgs, Format, UploadArgs},
    client::ClientError,
    error::CliError,
    output::{json, text, units},
    screen::Screen,
};

/// Bytes in one message; collectors take up to 1 MiB.
const CHUNK_BYTES: usize = 256 << 10;

/// Messages that are read ahead.
const AHEAD: usize = 4;

pub(super) async fn run(
    args: &UploadArgs,
    connection: &ConnectionArgs,
    screen: Screen,
) -> Result<(), CliError> {
    let session = Session::open(connection, screen).await?;
    let mut done = Vec::new();
    let mut failed = 0;
    let files = to_send(&args.files, Path::is_file);
    for file in &files {
        let path = &file.path;
        let quoted = quote(path);
        match upload(&session, file).await {
            Ok(answer) => {
                let (id, format) = (name(answer.id.as_ref()), format_name(answer.format()));
                if args.format.format == Format::Table {
                    let what = match answer.duplicate {
                        true => "the collector has as much of it",
                        false => "uploaded",
                    };
                    screen.print(&format!("{quoted}: {what}, {format} of {id}\n"))?;
                }
                done.push((path.clone(), id, format, answer.duplicate));
            }
            Err(Failed::Fatal(error)) => return Err(error),
            Err(Failed::OfFile(why)) => {
                failed += 1;
                screen.warn(&format!("{quoted}: {why}"));
            }
        }
    }
    if args.format.format == Format::Json {
        screen.print(&json::uploaded(&done)?)?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(CliError::Uploads { failed, all: files.len() }),
    }
}

/// Why a file was not uploaded.
enum Failed {
    /// Others may be.
    OfFile(String),
    /// Others will not be, either.
    Fatal(CliError),
}

async fn upload(session: &Session, what: &ToSend) -> Result<UploadResponse, Failed> {
    let path = what.path.as_path();
    let unreadable = |error: io::Error| Failed::OfFile(format!("cannot read it: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(Failed::OfFile("it is not a regular file".to_owned()));
    }
    let size = meta.len();
    let whose = whose_units(&what.what)?;
    // People look for it where it was.
    let shown = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let header = UploadHeader {
        size,
        path: shown.to_string_lossy().into_owned(),
        format: whose.as_ref().map_or(ObjectFormat::Unspecified, |_| ObjectFormat::ElfSplit).into(),
        id: whose,
        ..UploadHeader::default()
    };
    let (requests, queue) = mpsc::channel(AHEAD);
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let reader = tokio::task::spawn_blocking(move || send(file, header, &requests, &counted));
    let doing = || {
        let sent = sent.load(Ordering::Relaxed);
        format!("uploading {}: {} of {}", shown.display(), units::bytes(sent), units::bytes(size))
    };
    let answer = session.client.upload(ReceiverStream::new(queue), size);
    let answer = session.screen.waiting(doing, answer).await;
    // It ends when the collector listens no more.
    let read = reader.await.map_err(|error| Failed::OfFile(error.to_string()))?;
    read.map_err(unreadable)?;
    answer.map_err(|error| match error {
        // The collector has looked at the file and says what is wrong with it.
        ClientError::Refused(why) => Failed::OfFile(why),
        error => Failed::Fatal(error.into()),
    })
}

/// The id of the binary that split units go with; none when the file is no such thing.
fn whose_units(what: &What) -> Result<Option<v1::ObjectId>, Failed> {
    match what {
        What::Object => Ok(None),
        What::UnitsOf(binary) => {
            let id = id_of(binary).map_err(|error| {
                Failed::OfFile(format!("its binary, {}: {error}", quote(binary)))
            })?;
            Ok(Some((&id).into()))
        }
        What::UnitsWithout(binary) => Err(Failed::OfFile(format!(
            "split units go with a binary, and {} is not there; name it, too",
            quote(binary)
        ))),
    }
}

fn quote(path: &Path) -> String {
    text::shell_quote(&path.to_string_lossy())
}

/// Reads the file as the collector takes it; ends without an error when it takes no more.
fn send(
    mut file: File,
    header: UploadHeader,
    requests: &mpsc::Sender<UploadRequest>,
    sent: &AtomicU64,
) -> io::Result<()> {
    let request = |message| UploadRequest { message: Some(message) };
    if requests.blocking_send(request(Message::Header(header))).is_err() {
        return Ok(());
    }
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        let bytes = chunk.len() as u64;
        if bytes == 0 || requests.blocking_send(request(Message::Packed(pack(&chunk)?))).is_err() {
            return Ok(());
        }
        sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn format_name(format: ObjectFormat) -> &'static str {
    match format {
        ObjectFormat::Elf => "binary",
        ObjectFormat::ElfDebug => "debug file",
        ObjectFormat::ElfSplit => "split units",
        ObjectFormat::Kallsyms => "kernel symbols",
        ObjectFormat::Unspecified => "object",
    }
}
