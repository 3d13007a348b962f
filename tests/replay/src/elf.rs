//! The little that has to be known of an ELF file: its segments.

const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;

const PAGE: u64 = 4096;

struct Segment {
    kind: u32,
    flags: u32,
    position: u64,
    address: u64,
    size: u64,
}

/// Address, before the file is moved, of what a mapping has at its beginning.
#[must_use]
pub fn first_address(file: &[u8], position: u64) -> Option<u64> {
    segments(file).find_map(|segment| {
        let page = segment.position - segment.position % PAGE;
        let inside = (page..segment.position.saturating_add(segment.size)).contains(&position);
        let address = segment.address.wrapping_sub(segment.position).wrapping_add(position);
        (segment.kind == PT_LOAD && inside).then_some(address)
    })
}

/// Whether the file says where its unwind information can be searched: libunwind needs that.
#[must_use]
pub fn has_frame_header(file: &[u8]) -> bool {
    segments(file).any(|segment| segment.kind == PT_GNU_EH_FRAME)
}

/// Position, address and size of each segment with code.
pub fn code_segments(file: &[u8]) -> impl Iterator<Item = (u64, u64, u64)> {
    segments(file).filter(|segment| segment.kind == PT_LOAD && segment.flags & 1 != 0).map(
        |segment| {
            let before = segment.position % PAGE;
            let (position, address) =
                (segment.position - before, segment.address.wrapping_sub(before));
            (position, address, (segment.size + before).next_multiple_of(PAGE))
        },
    )
}

fn segments(file: &[u8]) -> impl Iterator<Item = Segment> {
    let start = word(file, 32).and_then(|start| usize::try_from(start).ok()).unwrap_or_default();
    let count = file.get(56..58).map_or(0, |count| u16::from_le_bytes([count[0], count[1]]));
    (0..usize::from(count)).filter_map(move |number| {
        let header = file.get(start.checked_add(56 * number)?..)?;
        let half = |at: usize| {
            let bytes = header.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(bytes))
        };
        Some(Segment {
            kind: half(0)?,
            flags: half(4)?,
            position: word(header, 8)?,
            address: word(header, 16)?,
            size: word(header, 32)?,
        })
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
