//! Generic functions, trait objects, closures that the standard library calls, a caught panic, a thread.

use std::{hint::black_box, panic, thread, time::{Duration, Instant}};

trait Shape {
    fn area(&self, seed: u64) -> u64;
}

struct Square(u64);
struct Circle(u64);

impl Shape for Square {
    #[inline(never)]
    fn area(&self, seed: u64) -> u64 {
        work(seed.wrapping_add(self.0), 200)
    }
}

impl Shape for Circle {
    #[inline(never)]
    fn area(&self, seed: u64) -> u64 {
        work(seed.wrapping_mul(self.0), 100)
    }
}

fn work(mut value: u64, rounds: u32) -> u64 {
    for _ in 0..rounds {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
        value = black_box(value);
    }
    value
}

#[inline(never)]
fn sorted(seed: u64) -> u64 {
    let mut numbers: Vec<u64> = (1..200).map(|number| work(seed.wrapping_add(number), 2)).collect();
    numbers.sort_by_key(|number| work(*number, 3));
    numbers[0]
}

#[inline(never)]
fn caught(depth: u64) -> u64 {
    fn fall(depth: u64) -> u64 {
        assert!(black_box(depth) > 0, "down");
        fall(depth - 1).wrapping_add(black_box(depth))
    }
    panic::catch_unwind(|| fall(depth)).unwrap_or(depth)
}

fn run(until: Instant) -> u64 {
    let shapes: [Box<dyn Shape>; 2] = [Box::new(Square(3)), Box::new(Circle(4))];
    let mut sum = 1;
    while Instant::now() < until {
        sum = shapes.iter().fold(sum, |sum, shape| sum ^ shape.area(sum | 1));
        sum = sum.wrapping_add(sorted(sum >> 8));
        sum = sum.wrapping_add(caught(9));
    }
    sum
}

fn main() {
    panic::set_hook(Box::new(|_| {}));
    let milliseconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200);
    let until = Instant::now() + Duration::from_millis(milliseconds);
    let other = thread::spawn(move || run(until));
    println!("{}", run(until) ^ other.join().unwrap_or(0));
}
