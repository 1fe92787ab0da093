//! Chords among the follow-ups of a settlement, as `settle.lua` takes them.

use umbel_protocol::{ChordPart, ChordStep, chord};
use uuid::Uuid;

use super::RedisConsumer;
use super::settling::Call;
use crate::broker::Outgoing;
use crate::redis::known;
use crate::redis::publisher::encode;

/// How many entries of the script one follow-up takes that goes to `queues` queues.
pub(super) fn entries(outgoing: &Outgoing, queues: usize) -> usize {
    match outgoing.chord.as_deref() {
        None => queues,
        Some(ChordStep::Count(_)) => 1,
        Some(ChordStep::End { .. }) => 1 + queues,
    }
}

impl RedisConsumer {
    /// Writes what a follow-up does to a chord. True if that is all there is to it.
    /// `probing`: the message itself stays here until it is known to be needed; it is as long as what is left of a
    /// workflow, and there is one for each member.
    pub(super) fn write_chord_step(
        &self,
        call: &mut Call,
        outgoing: &Outgoing,
        queues: &[String],
        probing: bool,
    ) -> bool {
        match outgoing.chord.as_deref() {
            None => false,
            Some(ChordStep::Count(part)) => {
                call.push(if probing { "probe" } else { "count" });
                self.write_part(call, part, outgoing, if probing { &[] } else { queues });
                true
            }
            Some(ChordStep::End { group }) => {
                call.push("end");
                call.push(known::chord_key(&self.options.results.prefix, group));
                false
            }
        }
    }

    fn write_part(&self, call: &mut Call, part: &ChordPart, outgoing: &Outgoing, queues: &[String]) {
        call.push(known::chord_key(&self.options.results.prefix, &part.group));
        call.push(&part.task_id);
        call.push(part.score());
        call.push(&part.part);
        call.push(part.expires.map_or_else(String::new, known::milliseconds));
        call.push(known::flag(self.options.results.unordered_chords));
        call.push(queues.len().to_string());
        for queue in queues {
            let list = self.keys.list_name(queue, outgoing.message.properties.priority);
            let number = call.list(self.keys.list(&list));
            let (head, tail) = around_members(outgoing);
            call.push(number.to_string());
            call.push(head);
            call.push(tail);
        }
    }
}

/// The envelope before and after the place of the members. Without such a place all is before it.
fn around_members(outgoing: &Outgoing) -> (Vec<u8>, Vec<u8>) {
    let mut message = outgoing.message.clone();
    message.properties.destination = outgoing.destination.clone();
    let parts = chord::around_members(&message, &Uuid::new_v4().to_string());
    parts.unwrap_or_else(|| (encode(outgoing), Vec::new()))
}
