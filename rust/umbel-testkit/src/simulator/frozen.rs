//! Processes and brokers that stand still: what happens to them meanwhile waits, and happens in order when they go on.

use umbel_worker::engine::ChildId;

use super::counts::Happening;
use super::world::{Event, World};

/// What waits for whoever stands still.
pub(super) type Backlog = Option<Vec<Event>>;

impl World {
    /// Whether a worker's process stands still.
    pub(super) fn is_frozen(&self, worker: usize) -> bool {
        self.workers[worker].backlog.is_some()
    }

    /// A worker's process stands still; with it the threads that are its children, if they are no processes.
    pub(super) fn freeze_worker(&mut self, worker: usize, time: i64) {
        let state = &mut self.workers[worker];
        state.backlog = Some(Vec::new());
        // To the engine it will look as if the clock had jumped.
        state.has_jumped = true;
        state.frozen_for += time;
        self.count(Happening::WorkerFrozen);
        self.after(time, Event::ThawWorker { worker });
    }

    pub(super) fn thaw_worker(&mut self, worker: usize) {
        self.note(|| format!("w{worker} goes on"));
        for event in self.workers[worker].backlog.take().unwrap_or_default() {
            self.happen(event);
        }
    }

    /// A child's process stands still, if it does not yet.
    pub(super) fn freeze_child(&mut self, worker: usize, child: ChildId, time: i64) {
        let Some(backlog) = self.backlog_of(worker, child).filter(|backlog| backlog.is_none()) else { return };
        *backlog = Some(Vec::new());
        self.count(Happening::ChildFrozen);
        self.note(|| format!("w{worker} child {} stands still", child.0));
        self.after(time, Event::ThawChild { worker, child });
    }

    pub(super) fn thaw_child(&mut self, worker: usize, child: ChildId) {
        self.note(|| format!("w{worker} child {} goes on", child.0));
        let backlog = self.backlog_of(worker, child).and_then(Option::take);
        for event in backlog.unwrap_or_default() {
            self.happen(event);
        }
    }

    fn backlog_of(&mut self, worker: usize, child: ChildId) -> Option<&mut Backlog> {
        self.workers[worker].children.get_mut(&child).map(|model| &mut model.backlog)
    }

    /// The broker goes away and comes back with everything it had.
    pub(super) fn restart_broker(&mut self, down: i64) {
        if self.broker_backlog.is_some() {
            return;
        }
        self.count(Happening::BrokerRestarted);
        self.broker_backlog = Some(Vec::new());
        self.after(down, Event::BrokerIsBack);
        for worker in self.living().collect::<Vec<usize>>() {
            self.disconnect(worker, 0);
        }
    }

    pub(super) fn broker_is_back(&mut self) {
        let backlog = self.broker_backlog.take();
        if backlog.is_some() {
            self.note(|| "the broker is back".to_owned());
        }
        for event in backlog.unwrap_or_default() {
            self.happen(event);
        }
    }

    /// Puts an event aside that whom it concerns cannot take now.
    pub(super) fn put_aside(&mut self, event: Event) -> Option<Event> {
        let backlog = match &event {
            Event::Publish(_) | Event::StartWorker | Event::LateRequest { .. } => &mut self.broker_backlog,
            Event::Connect { worker, .. } if self.workers[*worker].backlog.is_none() => &mut self.broker_backlog,
            Event::ToEngine { worker, .. }
            | Event::Frame { worker, .. }
            | Event::Spawned { worker }
            | Event::ReplyArrives { worker, .. }
            | Event::Heartbeat { worker }
            | Event::Connect { worker, .. }
            | Event::ConnectionLost { worker, .. }
            | Event::Tick { worker, .. } => &mut self.workers[*worker].backlog,
            Event::ToChild { worker, child, .. } | Event::RunEnds { worker, child, .. } => {
                let state = &mut self.workers[*worker];
                match state.children.get_mut(child) {
                    Some(model) if state.is_killable => &mut model.backlog,
                    _ => &mut state.backlog,
                }
            }
            _ => return Some(event),
        };
        match backlog {
            Some(waiting) => {
                waiting.push(event);
                None
            }
            None => Some(event),
        }
    }
}
