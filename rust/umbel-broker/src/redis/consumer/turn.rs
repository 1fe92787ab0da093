//! Whose turn it is: the order in which queues of one priority are served.

use std::sync::Arc;

use crate::redis::keys::Keys;
use crate::redis::record;

/// One queue as scripts need it.
pub(super) struct Served {
    /// Its name.
    pub(super) name: Arc<str>,
    /// What follows the envelope in the unacked records of its messages.
    pub(super) tail: String,
    /// Its lists, one for each priority step.
    pub(super) lists: Vec<String>,
}

/// The queues, next first.
pub(super) struct Turn(Vec<Served>);

impl Turn {
    pub(super) fn new(keys: &Keys, queues: &[String]) -> Self {
        let mut names: Vec<&String> = Vec::new();
        queues.iter().for_each(|queue| {
            if !names.contains(&queue) {
                names.push(queue);
            }
        });
        let served =
            |name: &&String| Served { name: name.as_str().into(), tail: record::tail(name), lists: keys.lists(name) };
        Self(names.iter().map(served).collect())
    }

    pub(super) fn queues(&self) -> &[Served] {
        &self.0
    }

    /// After a fetch: who got least is next. `taken` counts by present place.
    pub(super) fn advance(&mut self, taken: &[usize]) {
        if self.0.len() < 2 {
            return;
        }
        let mut places: Vec<usize> = (0..self.0.len()).collect();
        places.sort_by_key(|place| taken.get(*place).copied().unwrap_or(0));
        let mut queues: Vec<Option<Served>> = std::mem::take(&mut self.0).into_iter().map(Some).collect();
        self.0 = places.into_iter().filter_map(|place| queues[place].take()).collect();
    }
}
