//! Ids as types: validated when they come in, so that everything behind them can trust them.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::v1;

pub mod elf_identity;

/// Longest build ID accepted, bytes. Go's are 83, GNU's 20.
pub const MAX_BUILD_ID_BYTES: usize = 128;

/// Identifies a binary by its content.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId {
    kind: BuildIdKind,
    value: Box<[u8]>,
}

/// How a build ID was obtained; see `BuildIdKind` in `profile.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BuildIdKind {
    /// NT_GNU_BUILD_ID note.
    Gnu,
    /// Go linker's build ID, text.
    Go,
    /// OpenTelemetry's `htlhash`, for files without either.
    Htl,
}

/// Identifies an object across the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// What sort of object; never [`ObjectKind::Anonymous`] or [`ObjectKind::Unknown`].
    pub kind: ObjectKind,
    /// Which one.
    pub build_id: BuildId,
}

/// What an address is relative to; see `ObjectKind` in `profile.proto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// Nothing is known about the code.
    #[default]
    Unknown,
    /// A mapped file.
    File,
    /// The kernel image.
    Kernel,
    /// A kernel module.
    KernelModule,
    /// The vDSO.
    Vdso,
    /// Executable memory with no file.
    Anonymous,
}

/// One start of one agent: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId([u8; 16]);

/// Identifies a batch for good: a resend has the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId {
    /// Who sealed it.
    pub instance: InstanceId,
    /// 1, 2, 3, … within the instance.
    pub sequence: u64,
}

/// Bytes or text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// A build ID of a wrong size.
    #[error("build ID of {0} bytes: expected 1 to {MAX_BUILD_ID_BYTES}")]
    BuildIdSize(usize),
    /// An enum value this version does not know.
    #[error("unknown {what} {value}")]
    UnknownValue {
        /// Name of the enum.
        what: &'static str,
        /// The number received.
        value: i32,
    },
    /// A required field is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An instance id that is not 16 bytes.
    #[error("instance id of {0} bytes: expected 16")]
    InstanceSize(usize),
    /// Sequence numbers start at 1.
    #[error("sequence 0: sequences start at 1")]
    ZeroSequence,
    /// Text that is not of the id's form.
    #[error("{text:?} is not a valid {what}")]
    Text {
        /// What it should be.
        what: &'static str,
        /// What it is.
        text: String,
    },
}

// === impl BuildId ===

impl BuildId {
    /// Makes a build ID.
    ///
    /// # Errors
    /// When `value` is empty or longer than [`MAX_BUILD_ID_BYTES`].
    pub fn new(kind: BuildIdKind, value: &[u8]) -> Result<Self, IdError> {
        if value.is_empty() || value.len() > MAX_BUILD_ID_BYTES {
            return Err(IdError::BuildIdSize(value.len()));
        }
        Ok(Self { kind, value: value.into() })
    }

    /// How it was obtained.
    pub fn kind(&self) -> BuildIdKind {
        self.kind
    }

    /// The raw bytes: the note's descriptor, Go's text, or the hash.
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

impl TryFrom<&v1::BuildId> for BuildId {
    type Error = IdError;

    fn try_from(wire: &v1::BuildId) -> Result<Self, IdError> {
        let kind = match wire.kind() {
            v1::BuildIdKind::Gnu => BuildIdKind::Gnu,
            v1::BuildIdKind::Go => BuildIdKind::Go,
            v1::BuildIdKind::Htl => BuildIdKind::Htl,
            v1::BuildIdKind::Unspecified => {
                return Err(IdError::UnknownValue { what: "build ID kind", value: wire.kind });
            }
        };
        Self::new(kind, &wire.value)
    }
}

impl From<&BuildId> for v1::BuildId {
    fn from(id: &BuildId) -> Self {
        let kind = match id.kind {
            BuildIdKind::Gnu => v1::BuildIdKind::Gnu,
            BuildIdKind::Go => v1::BuildIdKind::Go,
            BuildIdKind::Htl => v1::BuildIdKind::Htl,
        };
        Self { kind: kind.into(), value: id.value.to_vec() }
    }
}

/// As pprof and the field's tools write it: hex for GNU and htlhash, text for Go.
impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            BuildIdKind::Go => write!(f, "{}", self.value.escape_ascii()),
            BuildIdKind::Gnu | BuildIdKind::Htl => write_hex(f, &self.value),
        }
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind)
    }
}

// === impl ObjectKind ===

impl ObjectKind {
    /// A short stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::File => "file",
            Self::Kernel => "kernel",
            Self::KernelModule => "module",
            Self::Vdso => "vdso",
            Self::Anonymous => "anonymous",
        }
    }
}

impl TryFrom<i32> for ObjectKind {
    type Error = IdError;

    fn try_from(value: i32) -> Result<Self, IdError> {
        match v1::ObjectKind::try_from(value) {
            Ok(v1::ObjectKind::Unspecified) => Ok(Self::Unknown),
            Ok(v1::ObjectKind::File) => Ok(Self::File),
            Ok(v1::ObjectKind::Kernel) => Ok(Self::Kernel),
            Ok(v1::ObjectKind::KernelModule) => Ok(Self::KernelModule),
            Ok(v1::ObjectKind::Vdso) => Ok(Self::Vdso),
            Ok(v1::ObjectKind::Anonymous) => Ok(Self::Anonymous),
            Err(_) => Err(IdError::UnknownValue { what: "object kind", value }),
        }
    }
}

impl From<ObjectKind> for v1::ObjectKind {
    fn from(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::Unknown => Self::Unspecified,
            ObjectKind::File => Self::File,
            ObjectKind::Kernel => Self::Kernel,
            ObjectKind::KernelModule => Self::KernelModule,
            ObjectKind::Vdso => Self::Vdso,
            ObjectKind::Anonymous => Self::Anonymous,
        }
    }
}

// === impl ObjectId ===

impl TryFrom<&v1::ObjectId> for ObjectId {
    type Error = IdError;

    fn try_from(wire: &v1::ObjectId) -> Result<Self, IdError> {
        let kind = ObjectKind::try_from(wire.kind)?;
        if matches!(kind, ObjectKind::Unknown | ObjectKind::Anonymous) {
            return Err(IdError::UnknownValue {
                what: "identifiable object kind",
                value: wire.kind,
            });
        }
        let build_id = wire.build_id.as_ref().ok_or(IdError::Missing("build ID"))?;
        Ok(Self { kind, build_id: build_id.try_into()? })
    }
}

impl From<&ObjectId> for v1::ObjectId {
    fn from(id: &ObjectId) -> Self {
        Self { kind: v1::ObjectKind::from(id.kind).into(), build_id: Some((&id.build_id).into()) }
    }
}

/// Safe as a file name: `file-gnu-0a1b…`; the value always in hex.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.build_id.kind {
            BuildIdKind::Gnu => "gnu",
            BuildIdKind::Go => "go",
            BuildIdKind::Htl => "htl",
        };
        write!(f, "{}-{kind}-", self.kind.as_str())?;
        write_hex(f, &self.build_id.value)
    }
}

/// The inverse of `Display`.
impl FromStr for ObjectId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Text { what: "object id", text: text.to_owned() };
        let mut parts = text.splitn(3, '-');
        let kind = match parts.next() {
            Some("file") => ObjectKind::File,
            Some("kernel") => ObjectKind::Kernel,
            Some("module") => ObjectKind::KernelModule,
            Some("vdso") => ObjectKind::Vdso,
            _ => return Err(bad()),
        };
        let id_kind = match parts.next() {
            Some("gnu") => BuildIdKind::Gnu,
            Some("go") => BuildIdKind::Go,
            Some("htl") => BuildIdKind::Htl,
            _ => return Err(bad()),
        };
        let value = parts.next().and_then(parse_hex).ok_or_else(bad)?;
        Ok(Self { kind, build_id: BuildId::new(id_kind, &value)? })
    }
}

// === impl InstanceId ===

impl InstanceId {
    /// A new random one.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl TryFrom<&[u8]> for InstanceId {
    type Error = IdError;

    fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
        bytes.try_into().map(Self).map_err(|_| IdError::InstanceSize(bytes.len()))
    }
}

/// 32 hex digits.
impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({self})")
    }
}

impl FromStr for InstanceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex(text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| IdError::Text { what: "instance id", text: text.to_owned() })
    }
}

// === impl BatchId ===

impl BatchId {
    /// Validates the two fields as they stand in a message.
    ///
    /// # Errors
    /// When the instance is not 16 bytes or the sequence is 0.
    pub fn from_wire(instance: &[u8], sequence: u64) -> Result<Self, IdError> {
        if sequence == 0 {
            return Err(IdError::ZeroSequence);
        }
        Ok(Self { instance: instance.try_into()?, sequence })
    }
}

/// `INSTANCE-SEQUENCE`.
impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.instance, self.sequence)
    }
}

impl FromStr for BatchId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = || IdError::Text { what: "batch id", text: text.to_owned() };
        let (instance, sequence) = text.split_once('-').ok_or_else(bad)?;
        let sequence: u64 = sequence.parse().map_err(|_| bad())?;
        Self::from_wire(instance.parse::<InstanceId>()?.as_bytes(), sequence)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests;
