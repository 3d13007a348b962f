//! Drawing from a fixed distribution in constant time (Walker's alias method, Vose's construction).

/// One entry: with `own` of 2^32 chances itself, else its alias.
#[derive(Clone, Copy, Debug)]
struct Slot {
    own: u32,
    alias: u32,
}

/// A distribution over `0..len`.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    slots: Vec<Slot>,
}

// === impl Alias ===

impl Alias {
    /// Of weights that are not all 0; at most 2^32 of them.
    pub(super) fn new(weights: &[u64]) -> Self {
        let total: f64 = weights.iter().map(|weight| *weight as f64).sum();
        let mut scaled: Vec<f64> =
            weights.iter().map(|weight| *weight as f64 * weights.len() as f64 / total).collect();
        let mut slots: Vec<_> =
            (0..index(weights.len())).map(|alias| Slot { own: u32::MAX, alias }).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|index| scaled[*index] < 1.0);
        while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
            slots[less] = Slot { own: chances(scaled[less]), alias: index(more) };
            scaled[more] -= 1.0 - scaled[less];
            if scaled[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        Self { slots }
    }

    /// One index.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> u32 {
        let bits = random.u64(..);
        // The upper half chooses the slot, the lower half between it and its alias.
        let slot = index((((bits >> 32) * self.slots.len() as u64) >> 32) as usize);
        let Slot { own, alias } = self.slots[slot as usize];
        if ((bits & u64::from(u32::MAX)) as u32) < own { slot } else { alias }
    }
}

fn chances(share: f64) -> u32 {
    (share * f64::from(u32::MAX)) as u32
}

fn index(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::Alias;

    /// Check that values come as often as their weights say.
    #[test]
    fn draws_follow_the_weights() {
        let weights = [1, 0, 5, 94, 900];
        let alias = Alias::new(&weights);
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = [0_u64; 5];
        (0..1_000_000).for_each(|_| counts[alias.draw(&mut random) as usize] += 1);
        for (weight, count) in weights.iter().zip(counts) {
            assert!(count.abs_diff(weight * 1000) <= weight * 30 + 200, "{weights:?} {counts:?}");
        }
    }

    /// Check that a single value is always drawn.
    #[test]
    fn one_weight_is_certain() {
        assert_eq!(Alias::new(&[3]).draw(&mut fastrand::Rng::with_seed(1)), 0);
    }
}
