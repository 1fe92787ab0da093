//! What is said to all workers of this process, and what they must not forget.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use umbel_protocol::{Destination, Message, Timestamp};

use super::store::Store;
use crate::control::{Control, KEPT, Listener, Revocation, Revoked, micros};
use crate::error::Result;
use crate::lane::{Lane, Turn};

/// Revocations, what was said lately, and open boxes.
#[derive(Default)]
pub(super) struct Said {
    revoked: HashMap<Revoked, Timestamp>,
    broadcasts: VecDeque<Broadcast>,
    /// Number of the last broadcast.
    last: u64,
    boxes: HashMap<Destination, Vec<Message>>,
    /// Of rate limits that workers share.
    lanes: HashMap<String, Lane>,
}

struct Broadcast {
    number: u64,
    at: Timestamp,
    exchange: String,
    message: Message,
}

impl Said {
    fn revoke(&mut self, revocations: &[Revocation], now: Timestamp) {
        self.revoked.retain(|_, until| *until > now);
        for Revocation { what, until } in revocations {
            let kept = self.revoked.entry(what.clone()).or_insert(*until);
            *kept = (*kept).max(*until);
        }
    }

    fn broadcast(&mut self, exchange: &str, message: &Message, now: Timestamp) {
        while self.broadcasts.front().is_some_and(|said| now.since(said.at) > KEPT) {
            self.broadcasts.pop_front();
        }
        self.last += 1;
        let (exchange, message) = (exchange.to_owned(), message.clone());
        self.broadcasts.push_back(Broadcast { number: self.last, at: now, exchange, message });
    }

    fn after(&self, number: u64, exchange: &str) -> Vec<Message> {
        let new = self.broadcasts.iter().filter(|said| said.number > number && said.exchange == exchange);
        new.map(|said| said.message.clone()).collect()
    }
}

pub(super) struct MemoryControl {
    store: Arc<Store>,
}

impl MemoryControl {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl Control for MemoryControl {
    fn revoke(&mut self, revocations: &[Revocation]) -> Result<()> {
        self.store.change(|state, now| state.said.revoke(revocations, now));
        Ok(())
    }

    fn revoked(&mut self) -> Result<Vec<Revocation>> {
        let (state, now) = (self.store.lock(), self.store.now());
        let kept = state.said.revoked.iter().filter(|(_, until)| **until > now);
        Ok(kept.map(|(what, until)| Revocation { what: what.clone(), until: *until }).collect())
    }

    fn turn(&mut self, limit: &str, pause: Duration, patience: Duration) -> Result<Turn> {
        let (pause, patience) = (micros(pause), micros(patience));
        Ok(self.store.change(|state, now| {
            let lane = state.said.lanes.entry(limit.to_owned()).or_default();
            lane.turn(pause, patience, now.0)
        }))
    }

    fn broadcast(&mut self, exchange: &str, message: &Message) -> Result<()> {
        self.store.change(|state, now| state.said.broadcast(exchange, message, now));
        Ok(())
    }

    fn open_box(&mut self, address: &Destination) -> Result<()> {
        self.store.lock().said.boxes.entry(address.clone()).or_default();
        Ok(())
    }

    fn collect(&mut self, address: &Destination, timeout: Duration) -> Result<Vec<Message>> {
        let answers = self.store.wait_for(timeout, |state, _| {
            state.said.boxes.get_mut(address).filter(|answers| !answers.is_empty()).map(std::mem::take)
        });
        Ok(answers.unwrap_or_default())
    }

    fn close_box(&mut self, address: &Destination) -> Result<()> {
        self.store.lock().said.boxes.remove(address);
        Ok(())
    }

    fn answer(&mut self, address: &Destination, message: &Message) -> Result<()> {
        self.store.change(|state, _| {
            if let Some(answers) = state.said.boxes.get_mut(address) {
                answers.push(message.clone());
            }
        });
        Ok(())
    }
}

pub(super) struct MemoryListener {
    store: Arc<Store>,
    exchange: String,
    heard: u64,
}

impl MemoryListener {
    pub(super) fn new(store: Arc<Store>, exchange: &str) -> Self {
        let heard = store.lock().said.last;
        Self { store, exchange: exchange.to_owned(), heard }
    }
}

impl Listener for MemoryListener {
    fn next(&mut self, timeout: Duration) -> Result<Vec<Message>> {
        let (exchange, heard) = (&self.exchange, &mut self.heard);
        let messages = self.store.wait_for(timeout, |state, _| {
            let seen = std::mem::replace(heard, state.said.last);
            let messages = if seen == state.said.last { Vec::new() } else { state.said.after(seen, exchange) };
            (!messages.is_empty()).then_some(messages)
        });
        Ok(messages.unwrap_or_default())
    }
}
