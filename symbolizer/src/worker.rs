//! The other side of a pool or a converter: a process that may die.
//!
//! In: questions on the standard input. Out: replies on the standard output. A hostile object can
//! make a parser loop, recurse until the stack is gone, ask for all the memory there is, or read
//! beyond a file that has shrunk; none of this can be caught within a process. So it happens in one
//! that has nothing to lose, with a limit on its memory, and ends when its pool does.

use std::{fs, io, process, sync::mpsc, thread};

use fleetprof_proto::symbol::{Reason, Symbol};
use prost::Message;
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use tracing::debug;

use crate::{
    symbolizer::Symbolizer,
    wire::{self, Converted, Hello, Nothing, Question, Reply, WireConversion, Work},
};

/// The inlined calls of a function are parsed by recursion; compilers nest them tens deep.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// Behind ingest and queries on a busy host.
const CONVERSION_NICENESS: i32 = 10;

/// Serves one pool until it closes the standard input. The standard output belongs to the protocol:
/// logs must go elsewhere. For a hidden subcommand of the binary that has the pool.
///
/// # Errors
/// When the protocol breaks.
pub fn serve() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let Some(hello) = wire::receive::<Hello>(&mut input)? else { return Ok(()) };
    confine(hello.memory_bytes)?;
    match hello.work.ok_or(io::ErrorKind::InvalidData)? {
        Work::Symbolize(options) => {
            let options = options.into_options();
            serve_with(&mut input, |queue| answer(queue, Symbolizer::new(options)))
        }
        Work::Convert(Nothing {}) => {
            // Whoever waits for a name waits for a conversion at most; nobody waits for this process
            // to be quick.
            if let Err(error) = nice(CONVERSION_NICENESS) {
                debug!(%error, "conversion runs at the usual priority");
            }
            serve_with(&mut input, convert)
        }
    }
}

/// Hands questions to a thread that answers them, until there are no more.
fn serve_with<Q: Message + Default + 'static>(
    input: &mut impl io::Read,
    work: impl FnOnce(&mpsc::Receiver<Q>) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let (questions, queue) = mpsc::sync_channel(1);
    let engine = move || process::exit(i32::from(work(&queue).is_err()));
    thread::Builder::new().name("symbolize".into()).stack_size(STACK_BYTES).spawn(engine)?;
    // This thread only reads, so that the end of the pool is seen while a parser is stuck.
    while let Some(question) = wire::receive::<Q>(input)? {
        questions.send(question).map_err(|_| io::ErrorKind::BrokenPipe)?;
    }
    process::exit(0);
}

fn convert(queue: &mpsc::Receiver<WireConversion>) -> io::Result<()> {
    let mut output = io::stdout().lock();
    while let Ok(conversion) = queue.recv() {
        let outcome = conversion.into_conversion().run();
        wire::send(&mut output, &Converted::new(outcome))?;
    }
    Ok(())
}

fn answer(queue: &mpsc::Receiver<Question>, mut symbolizer: Symbolizer) -> io::Result<()> {
    let mut output = io::stdout().lock();
    while let Ok(question) = queue.recv() {
        let addresses = &question.addresses;
        let symbols = symbolizer.symbolize_to(&question.source(), question.depth(), addresses);
        match wire::send(&mut output, &Reply::new(&symbols)) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let refused = vec![Symbol::Unknown(Reason::BadObject); addresses.len()];
                wire::send(&mut output, &Reply::new(&refused))?;
            }
            sent => sent?,
        }
    }
    Ok(())
}

/// Gives up what this process does not need.
fn confine(memory_bytes: u64) -> io::Result<()> {
    // Private writable memory: heap and stacks, but not the objects, which are mapped read-only.
    limit(Resource::Data, memory_bytes)?;
    limit(Resource::Core, 0)?;
    // When memory runs out, this process is the one to end. It may also run where /proc is hidden.
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "800") {
        debug!(%error, "cannot offer the worker to the kernel's memory killer");
    }
    Ok(())
}

fn limit(resource: Resource, bytes: u64) -> io::Result<()> {
    let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Some(bytes.min(ceiling));
    Ok(setrlimit(resource, Rlimit { current: limit, maximum: limit })?)
}
