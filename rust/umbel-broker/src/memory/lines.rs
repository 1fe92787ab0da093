//! Lines of the in-process engine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use umbel_protocol::Timestamp;

use super::state::{Entry, State};
use crate::lines::{LONGEST_LINE, STALE, WINDOW, name};
use crate::slots::GivenUp;

/// One line.
#[derive(Default)]
struct Line {
    /// Its messages in the queue.
    inside: u32,
    /// Delayed messages, the next first.
    waiting: VecDeque<(Timestamp, u64)>,
    moved: Timestamp,
}

impl Line {
    /// The next that may come into the queue.
    fn next(&mut self) -> Option<(Timestamp, u64)> {
        if self.inside < WINDOW { self.waiting.pop_front() } else { None }
    }
}

/// Lines by name.
#[derive(Default)]
pub(super) struct Lines(BTreeMap<String, Line>);

impl State {
    /// A new message goes to the back of its queue, or waits for those before it in its line.
    pub(super) fn stand_in_line(&mut self, queue: &str, line: &str, entry: Entry, now: Timestamp) {
        let key = name(queue, line);
        let line = self.lines.0.entry(key.clone()).or_default();
        if line.waiting.is_empty() {
            line.moved = now;
            if line.inside < WINDOW {
                line.inside += 1;
                return self.push_back(queue, entry);
            }
        }
        let place = self.delay(Arc::from(queue), entry, now.after(LONGEST_LINE));
        if let Some(line) = self.lines.0.get_mut(&key) {
            line.waiting.push_back(place);
        }
    }

    pub(super) fn give_up_places(&mut self, gives_up: &[GivenUp], now: Timestamp) {
        for given in gives_up {
            let GivenUp::Place { queue, line } = given else { continue };
            let key = name(queue, line);
            if let Some(line) = self.lines.0.get_mut(&key) {
                line.inside = line.inside.saturating_sub(1);
                line.moved = now;
                self.let_next_in(&key);
            }
        }
    }

    /// Lines that have not moved for long begin anew.
    pub(super) fn look_after_lines(&mut self, now: Timestamp) {
        let stale = self.lines.0.iter_mut().filter(|(_, line)| now.since(line.moved) >= STALE);
        let mut names = Vec::new();
        for (name, line) in stale {
            (line.inside, line.moved) = (0, now);
            names.push(name.clone());
        }
        for name in names {
            (0..WINDOW).for_each(|_| self.let_next_in(&name));
        }
        self.lines.0.retain(|_, line| line.inside > 0 || !line.waiting.is_empty());
    }

    fn let_next_in(&mut self, key: &str) {
        while let Some(place) = self.lines.0.get_mut(key).and_then(Line::next) {
            if self.let_in(place) {
                if let Some(line) = self.lines.0.get_mut(key) {
                    line.inside += 1;
                }
                return;
            }
        }
    }
}
