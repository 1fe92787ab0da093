//! How long to wait before the next try.

use std::time::Duration;

/// Pauses between tries: the first repetition comes at once (a connection that went stale while idle is the usual
/// case), then each pause is twice the one before, up to a longest, shortened at random so that clients do not all
/// return together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first pause that is not zero.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    /// 25 ms up to 1 s.
    fn default() -> Self {
        Self { first: Duration::from_millis(25), longest: Duration::from_secs(1) }
    }
}

/// Failures in a row, and the pause that follows from them.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    policy: RetryPolicy,
    failures: u32,
}

impl Backoff {
    /// No failure so far.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// It worked: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure; says how long to wait before the next try.
    pub fn pause(&mut self) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let full = self.policy.first.saturating_mul(1 << doublings.min(20)).min(self.policy.longest);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_nothing_to_the_longest() {
        let policy = RetryPolicy { first: Duration::from_millis(10), longest: Duration::from_millis(80) };
        let mut backoff = Backoff::new(policy);
        assert_eq!(backoff.pause(), Duration::ZERO);
        for full in [10, 20, 40, 80, 80, 80] {
            let pause = backoff.pause();
            assert!((full / 2..=full).contains(&(pause.as_millis() as u64)), "{pause:?} for {full} ms");
        }
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::ZERO);
    }
}
