//! Builds the kernel side (`ebpf/`) and leaves its object in `OUT_DIR`, where the sampler embeds it.

#[path = "build/ebpf.rs"]
mod ebpf;
#[path = "build/toolchain.rs"]
mod toolchain;

fn main() {
    if let Err(message) = ebpf::build() {
        // Not a panic: its backtrace note would hide the commands that help.
        eprintln!("\nerror: {message}\n");
        std::process::exit(1);
    }
}
