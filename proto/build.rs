//! Compiles the protobuf files with a pure-Rust compiler, so that a build needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["profile", "ingest", "object", "query"]
        .map(|name| format!("proto/fleetprof/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".fleetprof.v1.SealedBatch.payload")
        .compile_fds(descriptors)?;
    Ok(())
}
