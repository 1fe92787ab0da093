//! Wall clock in, steady time out.
//!
//! The engine is given wall-clock moments, which expiry and eta need. Time limits, the shutdown timeout and the
//! measuring of tasks need time that a clock step cannot move: a task must not be killed because someone set the
//! date. While anything is timed the engine asks to be woken at least every [`LONGEST_WAIT`], so a much longer gap
//! between two inputs is a clock step or a suspended machine, and counts as [`LONGEST_GAP`] only.

use umbel_protocol::Timestamp;

/// Microseconds of steady time since the engine's first input.
pub(super) type Micros = i64;

/// The longest gap between two inputs that is believed.
pub(super) const LONGEST_GAP: Micros = 5_000_000;

/// The engine asks to be woken at least this often while something is timed.
pub(super) const LONGEST_WAIT: Micros = 1_000_000;

/// The present moment, in both times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// For comparing with etas and expiries.
    pub(super) wall: Timestamp,
    /// For measuring.
    pub(super) steady: Micros,
}

/// Turns the wall-clock moments of inputs into steady time.
#[derive(Debug, Default)]
pub(super) struct SteadyClock {
    last: Option<Timestamp>,
    steady: Micros,
}

impl SteadyClock {
    /// The moment of the last input.
    pub(super) fn present(&self) -> Now {
        Now { wall: self.last.unwrap_or_default(), steady: self.steady }
    }

    /// The moment of an input, and whether the wall clock went backwards since the one before.
    pub(super) fn read(&mut self, wall: Timestamp) -> (Now, bool) {
        let passed = self.last.map_or(0, |last| wall.0.saturating_sub(last.0));
        self.last = Some(wall);
        self.steady += passed.clamp(0, LONGEST_GAP);
        (Now { wall, steady: self.steady }, passed < 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady_after(walls: &[i64]) -> Micros {
        let mut clock = SteadyClock::default();
        walls.iter().map(|&wall| clock.read(Timestamp(wall)).0.steady).last().unwrap_or_default()
    }

    #[test]
    fn follows_the_wall_clock() {
        assert_eq!(steady_after(&[1_000, 1_500, 4_000]), 3_000);
    }

    #[test]
    fn ignores_a_step_back() {
        assert_eq!(steady_after(&[10_000_000, 11_000_000, 2_000_000, 2_500_000]), 1_500_000);
    }

    #[test]
    fn believes_a_step_forward_only_so_far() {
        assert_eq!(steady_after(&[0, 3_600_000_000]), LONGEST_GAP);
    }
}
