//! Turns of a rate limit: one after the other, with a pause between them.

use std::time::Duration;

/// When a task may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// After this time.
    pub wait: Duration,
    /// Its turn is kept for it. If not, it is to ask again after that time.
    pub granted: bool,
}

/// One limit's turns; moments are µs on any clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lane {
    /// Between two turns.
    pub pause: i64,
    /// The next one.
    pub next: i64,
    /// One that has been promised to none of those that are to ask again.
    pub later: i64,
}

impl Lane {
    /// The next turn, if it comes within `patience`. Who would have to wait for longer is told to ask again when its turn
    /// should be, behind all who were told so before. Another pause begins anew.
    pub fn turn(&mut self, pause: i64, patience: i64, now: i64) -> Turn {
        if self.pause != pause {
            *self = Self { pause, next: now, later: now };
        }
        let at = self.next.max(now);
        let granted = at - now <= patience;
        let until = if granted { at } else { self.later.max(at) };
        if granted {
            self.next = at.saturating_add(pause);
        } else {
            self.later = until.saturating_add(pause);
        }
        Turn { wait: Duration::from_micros((until - now).unsigned_abs()), granted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(lane: &mut Lane, pause: i64, count: usize, now: i64) -> Vec<(u64, bool)> {
        let all = (0..count).map(|_| lane.turn(pause, 3_000_000, now));
        all.map(|turn| (turn.wait.as_secs(), turn.granted)).collect()
    }

    #[test]
    fn turns_are_apart_and_far_ones_are_sent_away_in_order() {
        let mut lane = Lane::default();
        let expected = [(0, true), (2, true), (4, false), (6, false), (8, false)];
        assert_eq!(turns(&mut lane, 2_000_000, 5, 0), expected);
        assert_eq!(
            turns(&mut lane, 2_000_000, 2, 4_000_000),
            [(0, true), (2, true)],
            "those that come back have theirs"
        );
        assert_eq!(turns(&mut lane, 2_000_000, 1, 4_000_000), [(6, false)], "who comes anew is behind them");
    }

    #[test]
    fn an_idle_lane_saves_nothing_up() {
        let mut lane = Lane::default();
        assert_eq!(turns(&mut lane, 1_000_000, 1, 0), [(0, true)]);
        assert_eq!(turns(&mut lane, 1_000_000, 2, 100_000_000), [(0, true), (1, true)]);
    }

    #[test]
    fn another_pause_holds_at_once() {
        let mut lane = Lane::default();
        turns(&mut lane, 1_000_000_000, 3, 0);
        assert_eq!(turns(&mut lane, 1_000_000, 2, 1_000_000), [(0, true), (1, true)]);
    }
}
