//! One worker process, seen from the process that started it.
//!
//! In: a command and questions. Out: replies, or the way in which the worker failed, after which it
//! is gone. Never waits longer than it is told to.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use prost::Message;
use thiserror::Error;

use crate::wire::{self, Hello};

/// How to start a worker: a program that calls [`crate::worker::serve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// A running worker that replies with `R`. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Worker<R> {
    child: Child,
    /// `None` only while it is dropped.
    input: Option<ChildStdin>,
    replies: Receiver<io::Result<Option<R>>>,
}

/// How a worker failed.
#[derive(Debug, Error)]
pub(crate) enum WorkerFailure {
    /// It crashed, ran out of memory or was killed.
    #[error("the worker ended: {0}")]
    Ended(ExitStatus),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It sent what is no reply.
    #[error("the worker broke the protocol: {0}")]
    Protocol(io::Error),
}

// === impl WorkerCommand ===

impl WorkerCommand {
    /// This very program with a subcommand.
    ///
    /// # Errors
    /// When the program's path cannot be found out.
    pub fn current_exe(subcommand: &str) -> io::Result<Self> {
        // The link in /proc still works when the file was replaced by an upgrade.
        let link = PathBuf::from("/proc/self/exe");
        let program = if link.exists() { link } else { std::env::current_exe()? };
        Ok(Self { program, args: vec![subcommand.into()] })
    }
}

// === impl Worker ===

impl<R: Message + Default + 'static> Worker<R> {
    /// Starts a worker and tells it what it is for.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(crate) fn start(command: &WorkerCommand, hello: &Hello) -> io::Result<Self> {
        let mut child = Command::new(&command.program)
            .args(&command.args)
            // Credentials are none of a parser's business.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes to the worker"));
        };
        // A worker that is gone already is noticed at the first question.
        let _ = wire::send(&mut input, hello);
        let (sender, replies) = mpsc::sync_channel(1);
        let read = move || {
            loop {
                let reply = wire::receive(&mut output);
                let last = !matches!(reply, Ok(Some(_)));
                if sender.send(reply).is_err() || last {
                    return;
                }
            }
        };
        thread::Builder::new().name("symbolize-read".into()).spawn(read)?;
        Ok(Self { child, input: Some(input), replies })
    }

    /// Asks and waits for the reply.
    ///
    /// # Errors
    /// When there is no valid one in time; the worker must be dropped then.
    pub(crate) fn ask(
        &mut self,
        question: &impl Message,
        timeout: Duration,
    ) -> Result<R, WorkerFailure> {
        let sent = self.input.as_mut().map_or(Ok(()), |input| wire::send(input, question));
        if let Err(error) = sent {
            return Err(self.ended(error));
        }
        match self.replies.recv_timeout(timeout) {
            Ok(Ok(Some(reply))) => Ok(reply),
            Ok(Ok(None)) | Err(RecvTimeoutError::Disconnected) => {
                Err(self.ended(io::ErrorKind::UnexpectedEof.into()))
            }
            Ok(Err(error)) => Err(self.ended(error)),
            Err(RecvTimeoutError::Timeout) => Err(WorkerFailure::Timeout(timeout)),
        }
    }
}

impl<R> Worker<R> {
    fn ended(&mut self, error: io::Error) -> WorkerFailure {
        // It closed its output or is about to: make sure, so that waiting is short.
        if let Err(error) = self.child.kill() {
            return WorkerFailure::Protocol(error);
        }
        match self.child.wait() {
            Ok(status) if error.kind() != io::ErrorKind::InvalidData => {
                WorkerFailure::Ended(status)
            }
            _ => WorkerFailure::Protocol(error),
        }
    }
}

impl<R> Drop for Worker<R> {
    fn drop(&mut self) {
        drop(self.input.take());
        // It holds nothing worth waiting for. Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
