//! A table in use: positions in, frames out.
//!
//! Opening reads the header only; a lookup touches the pages it needs. Bytes that are not a writer's
//! lead to an error, never to a panic or beyond their section.

use crate::{
    bytes::{u32_at, u64_at},
    error::{Miss, TableError},
    format::{FILE_BYTES, FUNCTION_BYTES, Header, SECTIONS, SEGMENT_BYTES, Section, SourceSet},
    nodes::CodedNode,
    rows::{Place, RowReader},
    strings,
};

/// A symbol table in `bytes`, which are usually a mapped file.
#[derive(Clone, Debug)]
pub struct Table<B> {
    bytes: B,
    header: Header,
}

/// One source-level frame of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The function, as the object names it.
    pub function: Option<Text>,
    /// The source file.
    pub file: Option<File>,
    /// The source line, 1-based; 0 when unknown.
    pub line: u32,
    /// Whether the function was inlined into that of the next frame.
    pub is_inlined: bool,
}

/// A name in a table; see [`Table::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(u32);

/// A source file in a table; see [`Table::path`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct File(u32);

/// Part of an object that is mapped when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Address of its first byte.
    pub address: u64,
    /// Where that byte is in the file.
    pub offset: u64,
    /// Its length in the file.
    pub length: u64,
}

/// What a table says about a function: where most of its code comes from.
#[derive(Clone, Copy, Debug, Default)]
struct Function {
    name: u32,
    file: u32,
    line: u32,
}

/// A table's bytes, whoever has them: what is asked often is compiled once, for all kinds.
#[derive(Clone, Copy)]
struct View<'a> {
    bytes: &'a [u8],
    header: &'a Header,
}

/// Most frames of one position: more than any converter writes.
const MAX_FRAMES: usize = 1024;

// === impl Table ===

impl<B: AsRef<[u8]>> Table<B> {
    /// Takes bytes as a table. Reads the header only.
    ///
    /// # Errors
    /// When they are not a table of this version, or not all of one.
    pub fn open(bytes: B) -> Result<Self, TableError> {
        let header = Header::read(bytes.as_ref())?;
        Ok(Self { bytes, header })
    }

    /// Reads everything once and compares the checksums.
    ///
    /// # Errors
    /// When one differs.
    pub fn verify(&self) -> Result<(), TableError> {
        for section in SECTIONS {
            if crc32c::crc32c(self.section(section)) != self.header.checksums[section as usize] {
                return Err(TableError::Checksum(section.name()));
            }
        }
        Ok(())
    }

    /// The build ID of the object; empty when it has none.
    pub fn build_id(&self) -> &[u8] {
        self.section(Section::BuildId)
    }

    /// `e_machine` of the object: 62 is x86-64, 183 is aarch64.
    pub fn machine(&self) -> u16 {
        self.header.machine
    }

    /// What the table was made from.
    pub fn sources(&self) -> SourceSet {
        self.header.sources
    }

    /// The segments of the object, by file offset.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        let segments = self.section(Section::Segments).chunks_exact(SEGMENT_BYTES);
        segments.map(|segment| {
            let number = |at| u64_at(segment, at).unwrap_or(0);
            Segment { address: number(0), offset: number(8), length: number(16) }
        })
    }

    /// How many bytes each section takes, by name.
    pub fn section_sizes(&self) -> impl Iterator<Item = (&'static str, usize)> {
        SECTIONS.into_iter().map(|section| (section.name(), self.section(section).len()))
    }

    /// The address that the byte at a file offset has before the object is moved.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let within = |segment: Segment| {
            let inside = offset.checked_sub(segment.offset)?;
            (inside < segment.length).then(|| segment.address.wrapping_add(inside))
        };
        self.segments().find_map(within)
    }

    /// Fills `frames` with what is at a file offset, innermost first.
    ///
    /// # Errors
    /// When nothing is known; `frames` is empty then.
    pub fn frames_at_offset(&self, offset: u64, frames: &mut Vec<Frame>) -> Result<(), Miss> {
        frames.clear();
        let address = self.address_of(offset).ok_or(Miss::NotMapped)?;
        self.frames_at_address(address, frames)
    }

    /// Fills `frames` with what is at an address, innermost first.
    ///
    /// # Errors
    /// When nothing is known; `frames` is empty then.
    pub fn frames_at_address(&self, address: u64, frames: &mut Vec<Frame>) -> Result<(), Miss> {
        self.view().frames(address, frames)
    }

    /// Appends a name to `out`.
    ///
    /// # Errors
    /// When the table is damaged.
    pub fn text(&self, text: Text, out: &mut Vec<u8>) -> Result<(), Miss> {
        self.view().text(text, out)
    }

    /// Appends the path of a file to `out`.
    ///
    /// # Errors
    /// When the table is damaged.
    pub fn path(&self, file: File, out: &mut Vec<u8>) -> Result<(), Miss> {
        self.view().path(file, out)
    }

    /// Calls `each` for every row in order: its address and what is known from there to the next one.
    ///
    /// # Errors
    /// When the table is damaged.
    pub fn for_each_row(&self, mut each: impl FnMut(u64, &[Frame])) -> Result<(), Miss> {
        let mut frames = Vec::new();
        let view = self.view();
        for block in 0..self.section(Section::Addresses).len() / 4 {
            let (bytes, first) = view.block(block)?;
            let mut reader = RowReader::new(bytes, first);
            while let Some((address, place)) = reader.next().map_err(|()| Miss::Damaged("rows"))? {
                frames.clear();
                if let Some(place) = place {
                    view.unwind(place, &mut frames)?;
                }
                each(self.header.base.wrapping_add(u64::from(address)), &frames);
            }
        }
        Ok(())
    }

    fn section(&self, section: Section) -> &[u8] {
        self.view().section(section)
    }

    #[inline]
    fn view(&self) -> View<'_> {
        View { bytes: self.bytes.as_ref(), header: &self.header }
    }
}

// === impl View ===

impl<'a> View<'a> {
    fn frames(self, address: u64, frames: &mut Vec<Frame>) -> Result<(), Miss> {
        frames.clear();
        let found = self.find(address)?.ok_or(Miss::NotCovered)?;
        let unwound = self.unwind(found, frames);
        if unwound.is_err() {
            frames.clear();
        }
        unwound
    }

    fn text(self, text: Text, out: &mut Vec<u8>) -> Result<(), Miss> {
        let (groups, bytes) = (self.section(Section::Groups), self.section(Section::Strings));
        strings::unpack(groups, bytes, text.0, out).ok_or(Miss::Damaged("string"))
    }

    fn path(self, file: File, out: &mut Vec<u8>) -> Result<(), Miss> {
        let files = self.section(Section::Files);
        let at = (file.0 as usize).checked_mul(FILE_BYTES).ok_or(Miss::Damaged("file"))?;
        let directory = u32_at(files, at).ok_or(Miss::Damaged("file"))?;
        let name = u32_at(files, at + 4).ok_or(Miss::Damaged("file"))?;
        if let Some(directory) = directory.checked_sub(1) {
            self.text(Text(directory), out)?;
            if out.last() != Some(&b'/') {
                out.push(b'/');
            }
        }
        match name.checked_sub(1) {
            Some(name) => self.text(Text(name), out),
            None => Ok(()),
        }
    }

    /// The row that holds an address.
    fn find(self, address: u64) -> Result<Option<Place>, Miss> {
        let addresses = self.section(Section::Addresses);
        if addresses.is_empty() {
            return Err(Miss::NoSymbols);
        }
        let relative = address.checked_sub(self.header.base);
        let relative: u32 = relative.and_then(|a| a.try_into().ok()).ok_or(Miss::NotCovered)?;
        let Some(number) = last_not_above(addresses, relative) else { return Ok(None) };
        let (bytes, first) = self.block(number)?;
        RowReader::new(bytes, first).seek(relative).map_err(|()| Miss::Damaged("rows"))
    }

    /// The bytes of a block and the address it begins at.
    fn block(self, number: usize) -> Result<(&'a [u8], u32), Miss> {
        let damaged = || Miss::Damaged("blocks");
        let blocks = self.section(Section::Blocks);
        let start = u32_at(blocks, number * 4).ok_or_else(damaged)? as usize;
        let end = u32_at(blocks, number * 4 + 4).ok_or_else(damaged)? as usize;
        let bytes = self.section(Section::Rows).get(start..end).ok_or_else(damaged)?;
        let first = u32_at(self.section(Section::Addresses), number * 4).ok_or_else(damaged)?;
        Ok((bytes, first))
    }

    /// Appends the frames of a row.
    fn unwind(self, place: Place, frames: &mut Vec<Frame>) -> Result<(), Miss> {
        let damaged = || Miss::Damaged("nodes");
        let nodes = self.section(Section::Nodes);
        let (mut line, mut file) = (place.line, place.file);
        let mut position = place.node;
        loop {
            let node = CodedNode::read(nodes, position).ok_or_else(damaged)?;
            let function = self.function(node.function)?;
            let frame = Frame {
                function: function.name.checked_sub(1).map(Text),
                file: file.unwrap_or(function.file).checked_sub(1).map(File),
                line: line.map_or(0, |line| function.line.wrapping_add_signed(line)),
                is_inlined: node.call.is_some(),
            };
            frames.push(frame);
            let Some(call) = node.call else { return Ok(()) };
            if frames.len() >= MAX_FRAMES {
                return Err(damaged());
            }
            (position, line, file) = (call.caller, call.line, call.file);
        }
    }

    #[inline]
    fn function(self, number: u32) -> Result<Function, Miss> {
        let Some(number) = number.checked_sub(1) else { return Ok(Function::default()) };
        let at = number as usize * FUNCTION_BYTES;
        let functions = self.section(Section::Functions);
        let entry = functions.get(at..at + FUNCTION_BYTES).ok_or(Miss::Damaged("functions"))?;
        let field = |at| u32_at(entry, at).unwrap_or(0);
        Ok(Function { name: field(0), file: field(4), line: field(8) })
    }

    #[inline]
    fn section(self, section: Section) -> &'a [u8] {
        let range = self.header.sections[section as usize].clone();
        // The header was checked against these bytes; another length would be another file.
        self.bytes.get(range).unwrap_or_default()
    }
}

/// The greatest index whose number is at most `wanted`, among ascending numbers of four bytes.
fn last_not_above(numbers: &[u8], wanted: u32) -> Option<usize> {
    let (numbers, _) = numbers.as_chunks();
    numbers.partition_point(|number| u32::from_le_bytes(*number) <= wanted).checked_sub(1)
}
