//! What was published and not confirmed yet.

use std::collections::VecDeque;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The server has it.
    Acked,
    /// The server did not take it.
    Nacked,
}

/// The messages of one channel in confirm mode, each with what its publisher knows it by.
#[derive(Debug)]
pub struct Confirms<T> {
    /// Number of the next message.
    next: u64,
    /// In the order of their numbers; `None` once confirmed.
    waiting: VecDeque<Option<T>>,
    count: usize,
}

impl<T> Default for Confirms<T> {
    /// Of a channel that has just been put into confirm mode.
    fn default() -> Self {
        Self { next: 1, waiting: VecDeque::new(), count: 0 }
    }
}

impl<T> Confirms<T> {
    /// A message was published. Returns its number.
    pub fn published(&mut self, what: T) -> u64 {
        self.waiting.push_back(Some(what));
        self.count += 1;
        self.next += 1;
        self.next - 1
    }

    /// How many are unconfirmed.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether all are confirmed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The server has spoken of the message `tag`, or, with `multiple`, of all up to it (0: of all). Numbers that were
    /// never given out, or spoken of before, are nothing.
    pub fn settle(&mut self, tag: u64, multiple: bool, mut done: impl FnMut(T)) {
        let first = self.next - self.waiting.len() as u64;
        let last = if multiple && tag == 0 { self.next - 1 } else { tag };
        if last >= self.next || last < first {
            return;
        }
        let end = usize::try_from(last - first).unwrap_or(usize::MAX);
        let start = if multiple { 0 } else { end };
        for slot in self.waiting.range_mut(start..=end) {
            if let Some(what) = slot.take() {
                self.count -= 1;
                done(what);
            }
        }
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
        }
    }

    /// Gives up on all that are unconfirmed, in their order.
    pub fn abandon(&mut self) -> impl Iterator<Item = T> {
        self.count = 0;
        std::mem::take(&mut self.waiting).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(confirms: &mut Confirms<u32>, tag: u64, multiple: bool) -> Vec<u32> {
        let mut done = Vec::new();
        confirms.settle(tag, multiple, |what| done.push(what));
        done
    }

    #[test]
    fn each_message_is_settled_once_in_any_order() {
        let mut confirms = Confirms::default();
        assert_eq!((10..16).map(|what| confirms.published(what)).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(settled(&mut confirms, 2, false), [11]);
        assert_eq!(settled(&mut confirms, 3, true), [10, 12]);
        assert_eq!(settled(&mut confirms, 3, true), [0; 0], "again");
        assert_eq!(settled(&mut confirms, 7, true), [0; 0], "never published");
        assert_eq!(confirms.len(), 3);
        assert_eq!(settled(&mut confirms, 0, true), [13, 14, 15]);
        assert!(confirms.is_empty());
        assert_eq!(confirms.published(9), 7);
        assert_eq!(confirms.abandon().collect::<Vec<_>>(), [9]);
        assert_eq!(settled(&mut confirms, u64::MAX, true), [0; 0]);
        assert_eq!(settled(&mut confirms, 0, false), [0; 0]);
    }
}
