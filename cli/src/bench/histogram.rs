//! Latencies: buckets whose width grows with the value, so that every value is known to better than
//! 1 %, whatever its size, and recording one is an addition.

/// Values below this have a bucket each; above, each doubling has as many buckets as half of it.
const EXACT: u64 = 256;
const HALF: u64 = EXACT / 2;

/// Nanoseconds, in buckets.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    maximum: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; bucket(u64::MAX) + 1],
            count: 0,
            maximum: 0,
        }
    }

    pub(super) fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.count += 1;
        self.maximum = self.maximum.max(value);
    }

    pub(super) const fn maximum(&self) -> u64 {
        self.maximum
    }

    /// The value that so many of a million are not above. 0 when there is none.
    pub(super) fn per_million(&self, share: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(share)).div_ceil(1_000_000);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank && seen > 0 {
                return highest(bucket).min(self.maximum);
            }
        }
        self.maximum
    }
}

fn bucket(value: u64) -> usize {
    if value < EXACT {
        return value as usize;
    }
    // Keeps the seven bits behind the first one.
    let doublings = u64::from(value.ilog2() - HALF.ilog2());
    let inside = (value >> doublings) - HALF;
    (doublings * HALF + HALF + inside) as usize
}

/// The highest value in a bucket.
const fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let doublings = (bucket - HALF) / HALF;
    let inside = (bucket - HALF) % HALF;
    let next = (inside + HALF + 1) as u128;
    ((next << doublings) - 1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_known_to_one_percent() {
        let mut value = 1_u64;
        while value < u64::MAX / 3 {
            for near in [value - 1, value, value + 1] {
                let high = highest(bucket(near));
                assert!(high >= near, "{near}");
                assert!(
                    (high - near) as f64 <= near as f64 / 100.0,
                    "{near}: {high}"
                );
            }
            value = value * 3 / 2 + 1;
        }
        assert_eq!(highest(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn buckets_follow_each_other() {
        for known in 0..2_000 {
            assert_eq!(bucket(highest(known)), known);
            assert_eq!(bucket(highest(known) + 1), known + 1);
        }
    }

    #[test]
    fn percentiles_are_ranks() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.per_million(500_000), 0);
        for value in 1..=100 {
            histogram.record(value);
        }
        assert_eq!(histogram.per_million(500_000), 50);
        assert_eq!(histogram.per_million(990_000), 99);
        assert_eq!(histogram.per_million(1_000_000), 100);
        assert_eq!(histogram.maximum(), 100);
    }
}
