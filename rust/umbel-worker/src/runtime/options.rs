//! How a worker is set up.

use std::time::Duration;

use crate::engine::EngineConfig;

/// Settings of one worker.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The engine's part.
    pub engine: EngineConfig,
    /// Queues to take from.
    pub queues: Vec<String>,
    /// Unique per process start, e.g. a uuid. Part of every tag.
    pub worker_id: String,
    /// How long this worker may stay silent before the broker takes its messages back; it says "alive" three times
    /// as often.
    pub lease: Duration,
    /// The exchange on which remote control requests come; `None` hears none.
    pub control_exchange: Option<String>,
    /// Pauses between attempts to reach a broker or result store that is away.
    pub reconnect: Pauses,
}

/// Growing pauses between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// The first.
    pub first: Duration,
    /// The longest; also the pause after an error that repeating will hardly cure.
    pub longest: Duration,
}

impl Default for Pauses {
    /// 0.1 s to 5 s.
    fn default() -> Self {
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(5) }
    }
}

impl Pauses {
    /// The pause after `failures` failed attempts in a row: doubled each time, less up to a half at random, so that
    /// a fleet does not come back in step.
    pub(super) fn after(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest).mul_f64(1.0 - fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest() {
        let pauses = Pauses::default();
        for (failures, least, most) in
            [(1, 50, 100), (2, 100, 200), (4, 400, 800), (9, 2500, 5000), (u32::MAX, 2500, 5000)]
        {
            let pause = pauses.after(failures).as_millis();
            assert!((least..=most).contains(&pause), "{pause} ms after {failures} failures");
        }
    }
}
