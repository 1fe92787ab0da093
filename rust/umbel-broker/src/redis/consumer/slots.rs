//! Slots and locks in a settlement, as `settle.lua` takes them.

use super::RedisConsumer;
use super::settling::{Call, Known};
use crate::clock::{Clock, SystemClock};
use crate::lines;
use crate::redis::keys::Keys;
use crate::redis::record;
use crate::slots::{GivenUp, LONGEST_WAIT, Slot};

impl RedisConsumer {
    /// Writes which slots a message wants. Its envelope goes along once the script has asked for it: with it the message
    /// can wait.
    pub(super) fn write_wish(&self, call: &mut Call, slots: &[Slot], record: Option<&Vec<u8>>, known: &Known) {
        let found = record.and_then(|record| record::split_own(record));
        if known.asked && found.is_none() {
            // It is held no more, and the script says so.
            return call.push("ack");
        }
        call.push("enter");
        call.push(self.keys.own());
        call.push(&self.worker.worker_id);
        match found {
            Some((envelope, queue)) => {
                let list = record::list_name(envelope, &queue, &self.keys, &self.options.limits);
                let due = SystemClock.now().after(LONGEST_WAIT);
                call.push(format!("{:.6}", due.as_seconds()));
                call.push(record::delayed_id(&list));
                call.push(envelope);
            }
            None => ["0", "", ""].into_iter().for_each(|nothing| call.push(nothing)),
        }
        call.push(slots.len().to_string());
        for slot in slots {
            call.push(&slot.name);
            call.push(slot.limit.to_string());
        }
    }
}

/// Writes what a settlement gives up.
pub(super) fn write_given_up(call: &mut Call, given: &GivenUp, keys: &Keys, worker_id: &str) {
    match given {
        GivenUp::Lock { name, owner } => {
            call.push("unlock");
            call.push(keys.lock(name));
            call.push(owner);
        }
        GivenUp::Place { queue, line } => {
            call.push("place");
            call.push(keys.own());
            call.push(lines::name(queue, line));
            call.push(lines::WINDOW.to_string());
        }
        GivenUp::Slot { slot, holder } => {
            call.push("leave");
            call.push(keys.own());
            call.push(worker_id);
            call.push(&*holder.0);
            call.push(&slot.name);
            call.push(slot.limit.to_string());
        }
    }
}
