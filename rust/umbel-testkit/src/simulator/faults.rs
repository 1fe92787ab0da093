//! What goes wrong, and when.

use umbel_worker::engine::{ChildId, ShutdownKind};

use super::counts::Happening;
use super::world::{Event, World};

/// Something that goes wrong, or that an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A worker's process is killed.
    KillWorker,
    /// A child's process is killed.
    KillChild,
    /// A connection breaks for so many µs, perhaps longer than a lease.
    Disconnect {
        wait: i64,
    },
    /// A worker's packets vanish for so many µs; then it finds its connection broken.
    Silence {
        time: i64,
    },
    /// The broker is away for so many µs, and comes back with everything it had.
    RestartBroker {
        down: i64,
    },
    /// A worker's next request is carried out in part, refused, and repeated.
    Refuse,
    /// A worker's process stands still for so many µs, perhaps longer than a lease.
    FreezeWorker {
        time: i64,
    },
    /// A child's process stands still for so many µs.
    FreezeChild {
        time: i64,
    },
    /// A worker's clock moves by so many µs.
    ClockJump {
        by: i64,
    },
    Shutdown(ShutdownKind),
    Resize {
        children: usize,
    },
    /// A task is revoked; one that runs is sent the signal.
    Revoke {
        signal: Option<i32>,
    },
}

/// What a history is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Anything.
    Mixed,
    /// Tasks that run for long while connections are broken for longer than a lease.
    Apart,
    /// Connections that break all the time, in the middle of everything.
    Flaky,
}

impl Mood {
    pub(super) fn random(rng: &mut fastrand::Rng) -> Self {
        match rng.u32(..8) {
            0 => Self::Apart,
            1 => Self::Flaky,
            _ => Self::Mixed,
        }
    }

    /// The prefetch multiplier of a worker.
    pub(super) fn multiplier(self, rng: &mut fastrand::Rng) -> Option<usize> {
        match self {
            Self::Mixed | Self::Flaky => [None, None, Some(1), Some(4)][rng.usize(..4)],
            Self::Apart => Some(4),
        }
    }

    /// Tasks take a few of these, µs.
    pub(super) fn unit_of_time(self, rng: &mut fastrand::Rng) -> i64 {
        match self {
            Self::Mixed => [10, 1_000, 1_000, 10_000, 10_000, 300_000, 300_000, 3_000_000][rng.usize(..8)],
            Self::Apart => 5_000_000,
            Self::Flaky => 10_000,
        }
    }
}

impl World {
    /// One history in four has no faults at all, one in four breaks at a step of its own.
    pub(super) fn plan_faults(&mut self, until: i64) {
        if self.mood == Mood::Flaky {
            for _ in 0..150 {
                let at = self.rng.i64(0..3_000_000);
                self.after(at, Event::Fault(Fault::Disconnect { wait: 3_000 }));
            }
            return;
        }
        let faults = match self.rng.u32(..4) {
            0 => return,
            1 => {
                let (step, fault) = (self.rng.u64(1..250), self.random_fault());
                self.plan_strike(step, fault);
                self.rng.usize(0..=1)
            }
            _ => self.rng.usize(1..=8),
        };
        for _ in 0..faults {
            let (at, fault) = (self.rng.i64(0..until), self.random_fault());
            self.after(at, Event::Fault(fault));
        }
    }

    fn random_fault(&mut self) -> Fault {
        let rng = &mut self.rng;
        if self.mood == Mood::Apart && rng.u32(..4) > 0 {
            let time = 25_000_000;
            return match rng.u32(..4) {
                0 => Fault::Silence { time },
                1 => Fault::FreezeWorker { time },
                _ => Fault::Disconnect { wait: time },
            };
        }
        let short_or_long = |rng: &mut fastrand::Rng| [5_000, 500_000, 25_000_000][rng.usize(..3)];
        match rng.u32(..21) {
            0 | 1 => Fault::KillWorker,
            2..=4 => Fault::KillChild,
            5..=7 => Fault::Disconnect { wait: short_or_long(rng) },
            8 => Fault::ClockJump { by: rng.i64(-3_600_000_000..3_600_000_000) },
            9 => Fault::Shutdown(ShutdownKind::Warm),
            10 => Fault::Shutdown(ShutdownKind::Cold),
            11 => Fault::Resize { children: rng.usize(0..=4) },
            12 => Fault::Silence { time: short_or_long(rng) },
            13 => Fault::RestartBroker { down: short_or_long(rng) },
            14 => Fault::Refuse,
            18..=20 => Fault::Revoke { signal: [None, Some(15), Some(9)][rng.usize(..3)] },
            15 | 16 => Fault::FreezeWorker { time: short_or_long(rng) },
            _ => Fault::FreezeChild { time: short_or_long(rng) },
        }
    }

    /// A fault hits a worker that lives, if one does. A process that stands still can be killed and nothing else.
    pub(super) fn strike(&mut self, fault: Fault) {
        let kills = matches!(fault, Fault::KillWorker | Fault::KillChild);
        let targets: Vec<usize> = self.living().filter(|&worker| kills || !self.is_frozen(worker)).collect();
        if targets.is_empty() || self.is_calm {
            return;
        }
        let worker = targets[self.rng.usize(..targets.len())];
        self.report.faults += 1;
        self.note(|| format!("w{worker} {fault:?}"));
        match fault {
            Fault::KillWorker => {
                self.count(Happening::WorkerKilled);
                self.end_process(worker);
            }
            Fault::KillChild => self.kill_a_child(worker),
            Fault::Disconnect { wait } => self.disconnect(worker, wait),
            Fault::Silence { time } => self.silence(worker, time),
            Fault::RestartBroker { down } => self.restart_broker(down),
            Fault::Refuse => self.workers[worker].refusals += 1,
            Fault::FreezeWorker { time } => self.freeze_worker(worker, time),
            Fault::FreezeChild { time } => self.freeze_a_child(worker, time),
            Fault::ClockJump { by } => {
                self.count(Happening::ClockJump);
                self.workers[worker].clock_offset += by;
                self.furthest_ahead = self.furthest_ahead.max(self.workers[worker].clock_offset);
                self.workers[worker].has_jumped = true;
                self.workers[worker].jumps += 1;
            }
            Fault::Shutdown(kind) => self.shut_down(worker, kind),
            Fault::Revoke { signal } => self.revoke(signal),
            Fault::Resize { children } => {
                self.count(Happening::Resized);
                self.resize(worker, children);
            }
        }
    }

    fn kill_a_child(&mut self, worker: usize) {
        if let Some(child) = self.a_child(worker) {
            self.count(Happening::ChildKilled);
            self.child_dies(worker, child, "signal 9 (SIGKILL)");
        }
    }

    fn freeze_a_child(&mut self, worker: usize, time: i64) {
        if let Some(child) = self.a_child(worker) {
            self.freeze_child(worker, child, time);
        }
    }

    /// A living child of a worker whose children are processes.
    fn a_child(&mut self, worker: usize) -> Option<ChildId> {
        let state = &self.workers[worker];
        let living = state.children.iter().filter(|(_, model)| model.is_alive()).map(|(child, _)| *child);
        let living: Vec<ChildId> = living.filter(|_| state.is_killable).collect();
        (!living.is_empty()).then(|| living[self.rng.usize(..living.len())])
    }
}
