//! When to wake the engine next.

use umbel_protocol::Timestamp;

use super::output::Output;
use super::steady::{LONGEST_WAIT, Micros, Now};

/// The earliest of several moments, and what was last asked for.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    asked: Option<Timestamp>,
    wanted: Option<Timestamp>,
}

impl Alarm {
    /// The clock went back, or the wake-up came: what was asked for is void.
    pub(super) fn clear(&mut self) {
        self.asked = None;
    }

    /// Wake at a moment of the wall clock, or within [`LONGEST_WAIT`] to look at the clock again.
    pub(super) fn at_wall(&mut self, at: Timestamp, now: Now) {
        self.want(Timestamp(at.0.min(now.wall.0.saturating_add(LONGEST_WAIT))), now);
    }

    /// Wake at a moment of the wall clock that nothing but a look at the queues depends on.
    pub(super) fn at_poll(&mut self, at: Timestamp, now: Now) {
        self.want(at, now);
    }

    /// Wake at a moment of steady time.
    pub(super) fn at_steady(&mut self, at: Micros, now: Now) {
        let wait = (at - now.steady).min(LONGEST_WAIT);
        self.want(Timestamp(now.wall.0.saturating_add(wait)), now);
    }

    fn want(&mut self, at: Timestamp, now: Now) {
        let at = Timestamp(at.0.max(now.wall.0.saturating_add(1)));
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    /// Asks to be woken, if that is earlier than what was asked for. A wake-up no longer needed is left to come:
    /// it costs less than taking each one back.
    pub(super) fn ring(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.asked.is_some_and(|asked| asked <= now.wall) {
            self.asked = None;
        }
        let Some(at) = self.wanted.take() else { return };
        if self.asked.is_none_or(|asked| at < asked) {
            self.asked = Some(at);
            out.push(Output::WakeAt(at));
        }
    }
}
