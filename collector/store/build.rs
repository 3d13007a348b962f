//! A new migration is part of the crate, though no source file names it.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
