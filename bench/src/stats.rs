//! Percentiles of latencies and medians of rounds.

use serde::Serialize;

/// Linear steps within each power of two: a reading is at most 1/128 too high.
const STEP_BITS: u32 = 7;
const STEPS: usize = 1 << STEP_BITS;

/// Counts of nanoseconds in buckets whose width grows with the value; fixed memory, no allocation a reading.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * (64 - STEP_BITS as usize + 1)], total: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Enters one reading.
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// The value, in µs, that the given share of all readings does not exceed; 0 without readings.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return upper_ns(index).min(self.max_ns) as f64 / 1000.0;
            }
        }
        0.0
    }

    /// The largest reading, in µs.
    pub fn max_us(&self) -> f64 {
        self.max_ns as f64 / 1000.0
    }
}

fn bucket(ns: u64) -> usize {
    let shift = (64 - STEP_BITS).saturating_sub(ns.leading_zeros() + 1);
    shift as usize * STEPS + (ns >> shift) as usize
}

/// The largest value that falls into a bucket.
fn upper_ns(index: usize) -> u64 {
    // Above the first two rows a bucket's step lies in the upper half of its row.
    let shift = (index / STEPS).saturating_sub(1);
    let step = (index - shift * STEPS) as u128;
    (((step + 1) << shift) - 1).min(u128::from(u64::MAX)) as u64
}

/// A figure over several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; the mean of the two middle ones when their number is even.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of some figures, if there are any.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: (low + high) / 2.0, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        for power in 0..63 {
            for ns in [1u64 << power, (1 << power) + (1 << power >> 1), (1 << (power + 1)) - 1] {
                let upper = upper_ns(bucket(ns));
                assert!(upper >= ns && upper - ns <= ns / STEPS as u64, "{ns} in a bucket up to {upper}");
                assert!(bucket(upper) == bucket(ns) && bucket(upper + 1) == bucket(ns) + 1, "{ns}");
            }
        }
        assert_eq!(upper_ns(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_are_those_of_the_readings() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), 0.0);
        for us in 1..=1000 {
            histogram.record(us * 1000);
        }
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = histogram.quantile_us(share);
            assert!(got >= expected && got <= expected * 1.01, "{share}: {got}");
        }
        assert_eq!(histogram.max_us(), 1000.0);
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }
}
