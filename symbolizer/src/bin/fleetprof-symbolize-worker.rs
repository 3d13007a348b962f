//! A worker process and nothing else: for tests and for programs without a subcommand for it.

fn main() -> std::io::Result<()> {
    fleetprof_symbolizer::worker::serve()
}
