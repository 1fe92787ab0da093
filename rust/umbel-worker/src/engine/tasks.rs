//! The table of registered tasks.

use std::collections::HashMap;
use std::sync::Arc;

use super::config::TaskOptions;
use super::pace::Pace;
use super::steady::Micros;

/// A registered task, shared by its jobs.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) options: TaskOptions,
    pace: usize,
}

/// Tasks by name, and how long each takes.
#[derive(Debug, Default)]
pub(super) struct TaskTable {
    by_name: HashMap<String, Arc<Registered>>,
    /// Kept when the table is replaced, so that a reload does not forget what was measured.
    paces: Vec<Pace>,
    pace_of: HashMap<String, usize>,
    known: bool,
}

impl TaskTable {
    /// Replaces the tasks.
    pub(super) fn replace(&mut self, tasks: Vec<TaskOptions>) {
        self.known = true;
        self.by_name.clear();
        for options in tasks {
            let fresh = self.paces.len();
            let pace = *self.pace_of.entry(options.name.clone()).or_insert(fresh);
            if pace == fresh {
                self.paces.push(Pace::default());
            }
            self.by_name.insert(options.name.clone(), Arc::new(Registered { options, pace }));
        }
    }

    /// Whether the engine has been told the tasks at all: before that every message would be unknown.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// The task of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Registered>> {
        self.by_name.get(name)
    }

    /// A task was measured.
    pub(super) fn record(&mut self, task: &Registered, took: Micros) {
        if let Some(pace) = self.paces.get_mut(task.pace) {
            pace.record(took);
        }
    }

    /// How long a run of it should take; `None` before the first.
    pub(super) fn predict(&self, task: &Registered) -> Option<Micros> {
        self.paces.get(task.pace).and_then(Pace::mean)
    }
}
