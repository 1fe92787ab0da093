//! When to ask the broker for messages: one fetch at a time, and none that is known to bring nothing.

use umbel_protocol::Timestamp;

use super::alarm::Alarm;
use super::steady::{Micros, Now};

/// Messages per fetch at most.
const LARGEST: usize = 1024;

/// Messages to ask for when the last fetch brought few: asking for many that are not there is work for the broker, too.
const SMALLEST: usize = 64;

/// Pause after a fetch that failed, or that did not bring what was due.
const PAUSE: Micros = 100_000;

/// The queues are looked at this often even if nothing rang.
const SAFETY_NET: i64 = 5_000_000;

/// What is known of the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Supply {
    /// There may be messages: the doorbell rang, or the last fetch came back full.
    #[default]
    More,
    /// The last fetch came back short: worth another look when the present messages move on.
    Short,
    /// The last fetch came back empty.
    Empty,
}

/// Decides when to fetch.
#[derive(Debug, Default)]
pub(super) struct Fetcher {
    supply: Supply,
    outstanding: Option<usize>,
    /// How many to ask for next, room permitting: doubles with each fetch that came back full.
    size: usize,
    more_came: bool,
    not_before: Option<Micros>,
    next_due: Option<Timestamp>,
    look_again: Option<Timestamp>,
}

impl Fetcher {
    /// There may be messages. Said during a fetch, it may be about messages the fetch has missed.
    pub(super) fn more(&mut self) {
        self.supply = Supply::More;
        self.more_came = self.outstanding.is_some();
    }

    /// A message was done with, which makes room.
    pub(super) fn freed(&mut self) {
        if self.supply == Supply::Short {
            self.supply = Supply::More;
        }
    }

    /// A fetch was answered.
    pub(super) fn delivered(&mut self, count: usize, next_due: Option<Timestamp>, now: Now) {
        let wanted = self.outstanding.take().unwrap_or(usize::MAX);
        let more_came = std::mem::take(&mut self.more_came);
        self.size = if count < wanted { count * 2 } else { self.size.max(count * 2) };
        self.supply = match count {
            _ if more_came => Supply::More,
            0 => Supply::Empty,
            _ if count < wanted => Supply::Short,
            _ => Supply::More,
        };
        // One that is due and was not brought needs a moment to come into its queue: asking at once would spin.
        self.next_due = next_due.map(|at| at.max(Timestamp(now.wall.0.saturating_add(PAUSE))));
        self.look_again = Some(Timestamp(now.wall.0.saturating_add(SAFETY_NET)));
    }

    /// A fetch came to nothing.
    pub(super) fn failed(&mut self, now: Now) {
        self.outstanding = None;
        self.more();
        self.not_before = Some(now.steady + PAUSE);
    }

    /// The connection broke: no answer will come.
    pub(super) fn abandon(&mut self) {
        self.outstanding = None;
        self.not_before = None;
        self.more();
    }

    /// Whether messages may wait that nobody has been asked for.
    pub(super) fn may_have_more(&self) -> bool {
        self.supply == Supply::More && self.outstanding.is_none()
    }

    /// Whether an answer is still to come.
    pub(super) fn is_outstanding(&self) -> bool {
        self.outstanding.is_some()
    }

    /// How many messages to ask for now, given `room` for more.
    pub(super) fn next(&mut self, room: usize, now: Now, alarm: &mut Alarm) -> Option<usize> {
        if self.outstanding.is_some() {
            return None;
        }
        self.look_when_due(now, alarm);
        if room == 0 || self.supply != Supply::More {
            return None;
        }
        if let Some(at) = self.not_before.filter(|&at| at > now.steady) {
            alarm.at_steady(at, now);
            return None;
        }
        self.not_before = None;
        let want = room.min(self.size.clamp(SMALLEST, LARGEST));
        self.outstanding = Some(want);
        Some(want)
    }

    fn look_when_due(&mut self, now: Now, alarm: &mut Alarm) {
        if self.next_due.is_some_and(|at| at <= now.wall) {
            self.next_due = None;
            self.more();
        }
        // A clock that went back must not put the next look further away than it was meant to be.
        let latest = Timestamp(now.wall.0.saturating_add(SAFETY_NET));
        match self.look_again.map(|at| at.min(latest)) {
            Some(at) if at <= now.wall => {
                self.look_again = None;
                self.more();
            }
            at => self.look_again = at,
        }
        if self.supply == Supply::More {
            return;
        }
        if let Some(at) = self.next_due {
            alarm.at_wall(at, now);
        }
        if let Some(at) = self.look_again {
            alarm.at_poll(at, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { wall: Timestamp(0), steady: 0 };

    fn ask(fetcher: &mut Fetcher, room: usize) -> Option<usize> {
        fetcher.next(room, NOW, &mut Alarm::default())
    }

    #[test]
    fn asks_for_more_while_fetches_come_back_full_and_for_few_once_one_does_not() {
        let mut fetcher = Fetcher::default();
        for want in [64, 128, 256, 512, 1024, 1024] {
            assert_eq!(ask(&mut fetcher, 5_000), Some(want));
            fetcher.delivered(want, None, NOW);
        }
        assert_eq!(ask(&mut fetcher, 5), Some(5), "no more than there is room for");
        fetcher.delivered(5, None, NOW);
        assert_eq!(ask(&mut fetcher, 5_000), Some(1024), "which says nothing of the queues");
        fetcher.delivered(100, None, NOW);
        fetcher.more();
        assert_eq!(ask(&mut fetcher, 5_000), Some(200));
        fetcher.delivered(0, None, NOW);
        assert_eq!(ask(&mut fetcher, 5_000), None, "empty");
        fetcher.more();
        assert_eq!(ask(&mut fetcher, 5_000), Some(64));
    }
}
