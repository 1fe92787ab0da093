//! What happened in histories, counted: faults that never strike prove nothing.

/// Something worth counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A worker's process was killed.
    WorkerKilled,
    /// A child's process was killed from outside.
    ChildKilled,
    /// A child died of a task.
    ChildCrashed,
    /// An engine killed a child: a limit, or a shutdown.
    KilledByEngine,
    /// A child asked to be replaced.
    ChildRetired,
    /// A child asked to be replaced, and worked on until it was.
    ChildWantedRelief,
    /// A child ended a job that was cancelled, at its hard limit or for a revocation.
    JobCancelled,
    /// A child could not be started.
    SpawnFailed,
    /// What a child had said last was lost with it.
    WordsLost,
    /// A worker's process stood still for a while (SIGSTOP, SIGCONT).
    WorkerFrozen,
    /// A child's process stood still for a while.
    ChildFrozen,
    /// A connection broke.
    Disconnected,
    /// Packets vanished for a while, then the connection was found to be broken.
    Silence,
    /// The broker went away and came back with everything it had.
    BrokerRestarted,
    /// A request was lost with its connection.
    RequestLost,
    /// A request arrived after its worker had connected anew.
    RequestLate,
    /// A request was carried out and its reply lost.
    ReplyLost,
    /// A request was carried out in part, refused, and repeated.
    RequestTorn,
    /// A worker connected anew under its old identity.
    Reconnected,
    /// A message was taken from a worker that had fallen silent.
    LeaseLost,
    /// A worker's clock was set.
    ClockJump,
    /// A warm shutdown.
    WarmShutdown,
    /// A cold shutdown.
    ColdShutdown,
    /// The number of children was changed.
    Resized,
    /// A task was revoked.
    Revoked,
    /// A message went to the dead letters.
    DeadLetter,
    /// A message was put back into its queue.
    Requeued,
    /// A message went to the delayed set.
    Delayed,
    /// A message waited for a slot.
    WaitedForSlot,
    /// A task ran although it had begun before.
    RanAgain,
    /// A chord's body was sent.
    ChordDone,
    /// A chord's errback was called.
    ChordFailed,
    /// A member of a chord ended again, having been counted before.
    CountedAgain,
    /// Those that waited for a task were told of an end that no child could tell of.
    EndTold,
}

impl Happening {
    /// All there are.
    pub const ALL: [Self; 34] = [
        Self::WorkerKilled,
        Self::ChildKilled,
        Self::ChildCrashed,
        Self::KilledByEngine,
        Self::ChildRetired,
        Self::ChildWantedRelief,
        Self::JobCancelled,
        Self::SpawnFailed,
        Self::WordsLost,
        Self::WorkerFrozen,
        Self::ChildFrozen,
        Self::Disconnected,
        Self::Silence,
        Self::BrokerRestarted,
        Self::RequestLost,
        Self::RequestLate,
        Self::ReplyLost,
        Self::RequestTorn,
        Self::Reconnected,
        Self::LeaseLost,
        Self::ClockJump,
        Self::WarmShutdown,
        Self::ColdShutdown,
        Self::Resized,
        Self::Revoked,
        Self::DeadLetter,
        Self::Requeued,
        Self::Delayed,
        Self::WaitedForSlot,
        Self::RanAgain,
        Self::ChordDone,
        Self::ChordFailed,
        Self::CountedAgain,
        Self::EndTold,
    ];

    /// In words, for a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled => "workers killed",
            Self::ChildKilled => "children killed from outside",
            Self::ChildCrashed => "children that died of a task",
            Self::KilledByEngine => "children killed by their engine",
            Self::ChildRetired => "children that retired",
            Self::ChildWantedRelief => "children that asked for relief",
            Self::JobCancelled => "jobs cancelled",
            Self::SpawnFailed => "children that could not be started",
            Self::WordsLost => "last words of children lost",
            Self::WorkerFrozen => "workers stopped and continued",
            Self::ChildFrozen => "children stopped and continued",
            Self::Disconnected => "connections broken",
            Self::Silence => "connections gone silent",
            Self::BrokerRestarted => "broker restarts",
            Self::RequestLost => "requests lost",
            Self::RequestLate => "requests carried out after a reconnection",
            Self::ReplyLost => "replies lost",
            Self::RequestTorn => "requests carried out in part, then repeated",
            Self::Reconnected => "reconnections under the old identity",
            Self::LeaseLost => "messages taken from silent workers",
            Self::ClockJump => "clock jumps",
            Self::WarmShutdown => "warm shutdowns",
            Self::ColdShutdown => "cold shutdowns",
            Self::Resized => "pools resized",
            Self::Revoked => "tasks revoked",
            Self::DeadLetter => "dead letters",
            Self::Requeued => "messages put back",
            Self::Delayed => "messages delayed",
            Self::WaitedForSlot => "messages that waited for a slot",
            Self::RanAgain => "runs of a task that had begun before",
            Self::ChordDone => "chords whose body was sent",
            Self::ChordFailed => "chords that failed",
            Self::CountedAgain => "chord members that ended again",
            Self::EndTold => "ends told to those that waited, in the task's place",
        }
    }
}

/// How often each thing happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts([u64; Happening::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Happening::ALL.len()])
    }
}

impl Counts {
    /// One more.
    pub fn add(&mut self, happening: Happening) {
        self.0[happening as usize] += 1;
    }

    /// How many.
    pub fn of(&self, happening: Happening) -> u64 {
        self.0[happening as usize]
    }

    /// Adds those of another history.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_each_once_and_in_order() {
        for (place, happening) in Happening::ALL.into_iter().enumerate() {
            assert_eq!(happening as usize, place, "{happening:?}");
        }
    }
}
