//! Fair sharing: whoever takes a message that stood in a line lets the next of that line into the queue.

use umbel_broker::GivenUp;
use umbel_protocol::{Limits, json};

use super::Engine;
use super::ledger::Taken;

/// The header that names the line.
const HEADER: &str = "umbel_line";

impl Engine {
    /// A message was taken from its queue, for the first time.
    pub(super) fn let_next_in(&mut self, taken: &Taken) {
        if taken.message.properties.redelivered {
            return;
        }
        let Ok(members) = json::members(taken.message.headers.as_bytes(), &Limits::default()) else { return };
        let line = members.iter().find(|member| member.name == HEADER).and_then(|member| json::text_of(member.raw));
        if let Some(line) = line {
            let queue = taken.queue.to_string();
            self.ledger.owe_given_up(GivenUp::Place { queue, line: line.into_owned() });
        }
    }
}
