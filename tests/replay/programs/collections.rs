//! Collections, text, trait objects, closures that the standard library calls, threads that start and end.
//! No panics: while one is handed to its handler, the saved registers of the frames are another's.

use std::{collections::{BTreeMap, HashMap}, hint::black_box, thread, time::{Duration, Instant}};

trait Step {
    fn step(&self, seed: u64) -> u64;
}

struct Words(usize);
struct Numbers(u64);

impl Step for Words {
    #[inline(never)]
    fn step(&self, seed: u64) -> u64 {
        let words: Vec<String> = (0..self.0 as u64).map(|word| format!("{:x}", seed.wrapping_mul(word + 1))).collect();
        let mut counts: HashMap<&str, u64> = HashMap::new();
        for word in &words {
            *counts.entry(&word[..word.len().min(2)]).or_default() += 1;
        }
        counts.values().copied().max().unwrap_or_default()
    }
}

impl Step for Numbers {
    #[inline(never)]
    fn step(&self, seed: u64) -> u64 {
        let mut numbers: Vec<u64> = (1..self.0).map(|number| mix(seed.wrapping_add(number))).collect();
        numbers.sort_by_key(|number| mix(*number));
        let tree: BTreeMap<u64, usize> = numbers.iter().copied().zip(0..).collect();
        tree.keys().next().copied().unwrap_or_default()
    }
}

#[inline(never)]
fn mix(mut value: u64) -> u64 {
    for _ in 0..8 {
        value ^= value << 13;
        value ^= value >> 7;
        value = black_box(value ^ value << 17);
    }
    value
}

#[inline(never)]
fn descend(depth: u32, steps: &[Box<dyn Step + Send + Sync>], seed: u64) -> u64 {
    if depth == 0 {
        return steps.iter().fold(seed, |sum, step| sum ^ step.step(sum | 1));
    }
    black_box(descend(depth - 1, steps, seed)).wrapping_add(u64::from(depth))
}

fn main() {
    let milliseconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200);
    let until = Instant::now() + Duration::from_millis(milliseconds);
    let steps: Vec<Box<dyn Step + Send + Sync>> = vec![Box::new(Words(40)), Box::new(Numbers(200))];
    let mut sum = 1;
    while Instant::now() < until {
        sum = thread::scope(|scope| {
            let other = scope.spawn(|| (0..20).fold(sum, |seed, depth| descend(depth, &steps, seed | 1)));
            let own = descend(60, &steps, sum);
            own ^ other.join().unwrap_or(own)
        });
    }
    println!("{sum}");
}
