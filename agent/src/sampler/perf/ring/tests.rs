//! The reader against a writer in this process, in place of the kernel.

use proptest::prelude::*;

use super::{Damaged, Ordering, Reader, offset_of, perf_event_mmap_page, ptr};

const PAGE: usize = 4096;
const DATA: usize = 256;

/// The shared memory, and what the kernel would keep.
struct Writer {
    memory: Vec<u64>,
    head: u64,
}

impl Writer {
    fn new() -> Self {
        Self { memory: vec![0; (PAGE + DATA) / 8], head: 0 }
    }

    fn reader(&mut self) -> Reader {
        let base = ptr::NonNull::new(self.memory.as_mut_ptr().cast()).unwrap();
        Reader { base, page: PAGE, data_len: DATA, record: Vec::new() }
    }

    fn free(&self, reader: &Reader) -> usize {
        let tail = reader.position(offset_of!(perf_event_mmap_page, data_tail));
        DATA - (self.head - tail.load(Ordering::Acquire)) as usize
    }

    /// Writes a record with a size field of its own choice; its body counts up from `seed`.
    fn write(&mut self, reader: &Reader, len: usize, size: u16, seed: u8) -> Vec<u8> {
        let mut record: Vec<u8> = (0..len).map(|index| seed.wrapping_add(index as u8)).collect();
        record[6..8].copy_from_slice(&size.to_ne_bytes());
        for byte in &record {
            let at = PAGE + (self.head % DATA as u64) as usize;
            // SAFETY: inside `memory`, which outlives the reader.
            unsafe { reader.base.as_ptr().add(at).write(*byte) };
            self.head += 1;
        }
        let head = reader.position(offset_of!(perf_event_mmap_page, data_head));
        head.store(self.head, Ordering::Release);
        record
    }
}

fn drain(reader: &mut Reader) -> (Vec<Vec<u8>>, Result<(), Damaged>) {
    let mut records = Vec::new();
    let outcome = reader.drain(|record| records.push(record.to_vec()));
    (records, outcome)
}

proptest! {
    #[test]
    fn records_come_out_as_they_went_in_however_they_wrap(
        rounds in prop::collection::vec(prop::collection::vec((1_usize..12, any::<u8>()), 0..6), 1..40),
    ) {
        let mut writer = Writer::new();
        let mut reader = writer.reader();
        for round in rounds {
            let mut written = Vec::new();
            for (words, seed) in round {
                let len = words * 8;
                if writer.free(&reader) >= len {
                    written.push(writer.write(&reader, len, len as u16, seed));
                }
            }
            prop_assert_eq!(drain(&mut reader), (written, Ok(())));
            prop_assert_eq!(writer.free(&reader), DATA);
        }
    }

    #[test]
    fn sizes_that_cannot_be_end_the_round_and_free_the_ring(size in any::<u16>()) {
        let mut writer = Writer::new();
        let mut reader = writer.reader();
        let good = writer.write(&reader, 24, 24, 1);
        writer.write(&reader, 32, size, 2);
        let (records, outcome) = drain(&mut reader);
        prop_assert_eq!(&records[0], &good);
        // Any other size leaves a rest that is no record, as its size field is not one.
        prop_assert_eq!(outcome.is_ok(), size == 32 || records.len() > 2);
        prop_assert_eq!(writer.free(&reader), DATA);
    }
}

#[test]
fn a_head_that_is_further_than_the_ring_is_damage() {
    let mut writer = Writer::new();
    let mut reader = writer.reader();
    let head = reader.position(offset_of!(perf_event_mmap_page, data_head));
    head.store(DATA as u64 + 8, Ordering::Release);
    assert_eq!(drain(&mut reader), (Vec::new(), Err(Damaged)));
    assert_eq!(drain(&mut reader), (Vec::new(), Ok(())));
}
