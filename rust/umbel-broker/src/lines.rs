//! Lines: fair sharing of a queue between groups of messages.
//!
//! Each message of a group is published with the name of the group's line ([`crate::Outgoing::line`]). Of a line no more than
//! [`WINDOW`] messages are in the queue; the others wait in order, and whoever takes one lets the next in at the back
//! ([`crate::GivenUp::Place`]). So the queue serves its lines in turn, however long some of them are, and what is in it can be
//! read by any consumer.
//!
//! A consumer that knows nothing of lines lets nobody in. Lines that have not moved for [`STALE`] are therefore taken for
//! empty, by any worker's heartbeat.

use std::time::Duration;

/// Messages of one line in a queue.
pub const WINDOW: u32 = 16;

/// After so long without movement a line with waiting messages begins anew.
pub const STALE: Duration = Duration::from_secs(60);

/// How long a message waits in a line at most before it comes into the queue in any case.
pub(crate) const LONGEST_LINE: Duration = Duration::from_secs(24 * 3600);

/// Lines that one heartbeat looks after.
pub(crate) const LOOKED_AFTER: usize = 64;

/// A line of a queue, as stores name it beside slots.
pub(crate) fn name(queue: &str, line: &str) -> String {
    format!("line:{queue}:{line}")
}
