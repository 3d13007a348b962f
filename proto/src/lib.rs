//! The wire of fleetprof: the generated protobuf types ([`v1`]), ids with validated conversions
//! ([`ids`]), batches of samples ([`batch`]), symbol types ([`symbol`]) and pprof encoding
//! ([`pprof`]).
//!
//! No module here does I/O: bytes and values in, bytes and values out.
#![forbid(unsafe_code)]

pub mod batch;
pub mod chunk;
pub mod ids;
pub mod labels;
pub mod pprof;
pub mod selector;
pub mod symbol;
pub mod time_range;

/// Types and services generated from `proto/fleetprof/v1/*.proto`, the source of their
/// documentation.
pub mod v1 {
    #![expect(missing_docs, reason = "generated; the .proto files hold the documentation")]
    #![allow(
        clippy::all,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        unreachable_pub,
        unused_qualifications,
        reason = "generated code is not held to our style"
    )]
    tonic::include_proto!("fleetprof.v1");

    /// The encoded `FileDescriptorSet` of these files, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
