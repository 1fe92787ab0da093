//! Slots: how many tasks may run at a time, counted over all workers of a store.
//!
//! A slot is taken for a held message ([`crate::Disposition::Enter`]) under its tag. If there is none, the message waits
//! in the store, and the step that gives up a slot ([`GivenUp::Slot`]) puts the one that has waited longest at the front of
//! its queue. The slot is kept for it for [`KEPT_FOR`]: what comes anew waits behind those that wait. Slots of a worker whose lease runs out, or that closes, are given up with it.
//!
//! A message that waits is a delayed one that is due in [`LONGEST_WAIT`]: whatever happens to the limit it waits for, it
//! comes back by itself.

use std::time::Duration;

use crate::broker::Tag;

/// One of a number of slots of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What is limited.
    pub name: String,
    /// How many there are.
    pub limit: u32,
}

/// What is given up with the end of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GivenUp {
    /// A lock taken with a message ([`crate::Lock`]), unless another owner has it.
    Lock {
        /// What is locked.
        name: String,
        /// Whose it is: the task's id.
        owner: String,
    },
    /// A slot, if it was taken. One that waits for such a slot is next.
    Slot {
        /// Which, and how many there are of it as the worker knows.
        slot: Slot,
        /// The tag it was taken under.
        holder: Tag,
    },
    /// A place in a queue, by a message that stood in a line and was taken from it. The next of the line comes to the back
    /// of the queue.
    Place {
        /// The queue.
        queue: String,
        /// The line.
        line: String,
    },
}

/// How long a message waits for a slot at most before it is tried again.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long a slot is kept for a message that was woken for it: it may have been taken by who knows nothing of slots.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(30);

/// Messages that a heartbeat puts back where nobody has a slot and some wait: nobody may know the limit any more.
pub(crate) const STRANDED: u32 = 64;

/// Limits that one heartbeat looks after.
pub(crate) const LOOKED_AFTER: usize = 64;

/// How many of those that wait should be woken, where so many slots of `limit` are taken or kept for others.
pub(crate) fn to_wake(limit: u32, used: u32) -> u32 {
    let free = limit.saturating_sub(used);
    if used == 0 { free.max(STRANDED) } else { free }
}
