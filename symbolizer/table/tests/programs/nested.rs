//! Rust with generics, closures, traits and several levels of inlining.
use std::collections::BTreeMap;
use std::fmt::Display;

trait Visit<T> {
    fn visit(&mut self, item: &T) -> u64;
}

struct Sum<F>(F, u64);

impl<T: Copy + Into<u64>, F: Fn(u64) -> u64> Visit<T> for Sum<F> {
    #[inline(always)]
    fn visit(&mut self, item: &T) -> u64 {
        self.1 = self.1.wrapping_add((self.0)((*item).into()));
        rotate(self.1)
    }
}

#[inline(always)]
fn rotate(x: u64) -> u64 {
    x.rotate_left(13).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline(never)]
fn walk<T, V: Visit<T>>(items: &[T], visitor: &mut V) -> u64 {
    items.iter().map(|item| visitor.visit(item)).fold(0, |a, b| a ^ b)
}

mod report {
    use super::*;

    #[inline(never)]
    pub fn render<K: Display + Ord>(counts: &BTreeMap<K, u64>) -> String {
        let mut lines: Vec<String> =
            counts.iter().filter(|(_, n)| **n % 3 != 1).map(|(k, n)| format!("{k}={n}")).collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
        lines.join(";")
    }
}

fn main() {
    let seed = std::env::args().count() as u64;
    let items: Vec<u32> = (0..1000).map(|i| rotate(i ^ seed) as u32).collect();
    let mut sum = Sum(|x: u64| x / (seed + 1), 0);
    let total = walk(&items, &mut sum);
    let mut counts = BTreeMap::new();
    for item in &items {
        *counts.entry(format!("k{}", item % 50)).or_insert(0) += u64::from(*item % 7);
    }
    println!("{total} {}", report::render(&counts));
}
