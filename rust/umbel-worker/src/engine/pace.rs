//! How long tasks take, as measured.

use super::steady::Micros;

/// Runs after which older ones weigh half.
const MEMORY: u32 = 32;

/// A running mean that forgets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    sum: Micros,
    count: u32,
}

impl Pace {
    /// Adds one run.
    pub(super) fn record(&mut self, took: Micros) {
        if self.count >= MEMORY {
            self.sum /= 2;
            self.count /= 2;
        }
        self.sum = self.sum.saturating_add(took.max(0));
        self.count += 1;
    }

    /// Mean time of a run, at least 1 µs; `None` before the first.
    pub(super) fn mean(&self) -> Option<Micros> {
        (self.count > 0).then(|| (self.sum / Micros::from(self.count)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_was() {
        let mut pace = Pace::default();
        assert_eq!(pace.mean(), None);
        (0..1000).for_each(|_| pace.record(10));
        assert_eq!(pace.mean(), Some(10));
        (0..300).for_each(|_| pace.record(100_000));
        assert!(pace.mean() > Some(99_000), "{:?}", pace.mean());
    }

    #[test]
    fn one_long_run_counts_at_once() {
        let mut pace = Pace::default();
        (0..1000).for_each(|_| pace.record(10));
        pace.record(10_000_000);
        assert!(pace.mean() > Some(300_000));
    }
}
