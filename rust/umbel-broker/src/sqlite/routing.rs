//! Publishing: from a destination to rows in queues.

use umbel_protocol::{ChordStep, Destination, chord};

use super::content;
use super::fault::Fault;
use super::places::Parcel;
use super::session::Step;
use crate::broker::{ExchangeKind, Outgoing};
use crate::queue::{Binding, PRIORITY_STEPS, anonymous_route, check_bindable, route, step_index};

impl Step<'_> {
    /// Publishes `batch` in order.
    pub(super) fn publish(&mut self, batch: &[Outgoing]) -> Result<(), Fault> {
        for outgoing in batch {
            let completed;
            let outgoing = match outgoing.chord.as_deref() {
                None => outgoing,
                Some(ChordStep::Count(part)) => {
                    let Some(members) = self.count_part(part, true)? else { continue };
                    let message = chord::completed(&outgoing.message, &members);
                    completed = Outgoing { message, ..outgoing.clone() };
                    &completed
                }
                Some(ChordStep::End { group }) => {
                    self.end_chord(group)?;
                    outgoing
                }
            };
            for queue in self.queues_for(&outgoing.destination)? {
                self.publish_to(queue, outgoing)?;
            }
        }
        Ok(())
    }

    fn publish_to(&mut self, queue: i64, outgoing: &Outgoing) -> Result<(), Fault> {
        let properties = &outgoing.message.properties;
        let parcel = Parcel {
            message: content::insert(self.connection, outgoing)?,
            queue,
            step: PRIORITY_STEPS[step_index(properties.priority)],
            failed: properties.failed_deliveries,
            redelivered: properties.redelivered,
        };
        match (outgoing.eta, &outgoing.line) {
            (Some(eta), _) if eta > self.now => self.delay(parcel, eta).map(drop),
            (None, Some(line)) => self.stand_in_line(parcel, line),
            _ => self.push_back(parcel),
        }
    }

    fn queues_for(&mut self, destination: &Destination) -> Result<Vec<i64>, Fault> {
        let names = if destination.exchange.is_empty() {
            if let Some(id) = self.known_queue(&destination.routing_key) {
                return Ok(vec![id]);
            }
            anonymous_route(destination)?
        } else {
            let bound = self.bindings_of(&destination.exchange)?;
            route(destination, bound.iter().map(|(kind, binding)| (*kind, binding)))?
        };
        names.iter().map(|name| self.queue_id(name)).collect()
    }

    fn bindings_of(&self, exchange: &str) -> Result<Vec<(ExchangeKind, Binding)>, Fault> {
        let mut select =
            self.connection.prepare_cached("SELECT kind, routing_key, queue FROM bindings WHERE exchange = ?1")?;
        let rows = select.query_map([exchange], |row| {
            let binding = Binding { routing_key: row.get(1)?, queue: row.get(2)? };
            Ok((kind_from(row.get(0)?), binding))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Adds a binding.
    pub(super) fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<(), Fault> {
        check_bindable(queue, destination)?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR IGNORE INTO bindings (exchange, kind, routing_key, queue) VALUES (?1, ?2, ?3, ?4)",
        )?;
        insert.execute(rusqlite::params![destination.exchange, kind_to(kind), destination.routing_key, queue])?;
        Ok(())
    }
}

fn kind_to(kind: ExchangeKind) -> i64 {
    match kind {
        ExchangeKind::Direct => 0,
        ExchangeKind::Topic => 1,
        ExchangeKind::Fanout => 2,
    }
}

fn kind_from(stored: i64) -> ExchangeKind {
    match stored {
        1 => ExchangeKind::Topic,
        2 => ExchangeKind::Fanout,
        _ => ExchangeKind::Direct,
    }
}
