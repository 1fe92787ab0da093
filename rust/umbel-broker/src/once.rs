//! Locks that are taken in the step in which a message is published, so that of many that are the same one is sent.

use std::time::Duration;

/// A lock as a message wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// What is locked.
    pub name: String,
    /// Whose it is: the task's id.
    pub owner: String,
    /// It is given up after this time, whatever happens.
    pub life: Duration,
    /// Take it from another owner.
    pub replace: bool,
}

/// What became of a message that wanted a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It was published, now or by an earlier call of the same owner.
    Published {
        /// The owner from whom the lock was taken.
        replaced: Option<String>,
    },
    /// It was not: this owner has the lock.
    Refused {
        /// Its task id.
        owner: String,
    },
}
