//! The listener thread: subscribes, reads, listens, and starts over when the connection breaks.

use std::collections::HashMap;
use std::time::Instant;

use umbel_backend::{ResultListener, ResultStore};
use umbel_broker::{BrokerError, NextStep, Result};

use super::Shared;
use super::hub::{BATCH, is_end};
use crate::retry_policy::Backoff;

/// Runs until the waiter is dropped or the store refuses.
pub(super) fn run(shared: &Shared) {
    let mut farewell = Farewell { shared, failure: None };
    let mut backoff = Backoff::new(shared.policy);
    loop {
        let error = match Session::open(shared).and_then(|mut session| session.run(&mut backoff)) {
            Ok(()) => return,
            Err(error) => error,
        };
        if error.next_step() == NextStep::GiveUp {
            log::error!("cannot wait for results: {error}");
            farewell.failure = Some(error);
            return;
        }
        let until = Instant::now() + backoff.pause();
        log::debug!("results: {error}");
        let mut hub = shared.hub.lock();
        hub.lost(error);
        let resumed = std::sync::Arc::clone(&hub.resumed);
        let mut rested = false;
        while !hub.is_closing() && !rested {
            (hub, rested) = resumed.wait_until(hub, until);
        }
        if hub.is_closing() {
            return;
        }
    }
}

/// However the thread ends, nobody must wait for it.
struct Farewell<'a> {
    shared: &'a Shared,
    failure: Option<BrokerError>,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failure = Some(BrokerError::Protocol { detail: "the listener for results broke".to_owned() });
        }
        self.shared.hub.lock().stopped(self.failure.take());
    }
}

/// One connection's life.
struct Session<'a> {
    shared: &'a Shared,
    listener: Box<dyn ResultListener>,
    store: Box<dyn ResultStore>,
    subscribed: HashMap<String, Trust>,
}

/// What a heard record says about the stored one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nothing was stored when the subscription began: records are heard in the order they were stored.
    InOrder,
    /// A record was read, and a heard one may be older than it: what is heard is a reason to read again.
    Reread,
}

impl<'a> Session<'a> {
    fn open(shared: &'a Shared) -> Result<Self> {
        let listener = shared.backend.listener()?;
        let store = shared.backend.store()?;
        shared.hub.lock().connected(listener.waker());
        Ok(Self { shared, listener, store, subscribed: HashMap::new() })
    }

    fn run(&mut self, backoff: &mut Backoff) -> Result<()> {
        loop {
            let chores = {
                let mut hub = self.shared.hub.lock();
                if hub.is_closing() {
                    return Ok(());
                }
                hub.chores()
            };
            if !chores.stale.is_empty() {
                self.unsubscribe(&chores.stale)?;
            }
            for ids in chores.fresh.chunks(BATCH) {
                self.subscribe(ids)?;
            }
            self.shared.hub.lock().settled();
            backoff.reset();
            let heard = self.listener.next(chores.listen)?;
            self.hand_on(heard)?;
        }
    }

    fn unsubscribe(&mut self, ids: &[String]) -> Result<()> {
        let known: Vec<String> = ids.iter().filter(|id| self.subscribed.remove(*id).is_some()).cloned().collect();
        if known.is_empty() { Ok(()) } else { self.listener.unsubscribe(&known) }
    }

    /// Subscribes those of `ids` that are not, then reads them all.
    fn subscribe(&mut self, ids: &[String]) -> Result<()> {
        let new: Vec<String> = ids.iter().filter(|id| !self.subscribed.contains_key(*id)).cloned().collect();
        let read = if new.is_empty() { None } else { self.listener.subscribe_and_read(&new)? };
        match read {
            Some(records) if new.len() == ids.len() => {
                self.take_in(ids, records);
                Ok(())
            }
            _ => self.read(ids),
        }
    }

    fn read(&mut self, ids: &[String]) -> Result<()> {
        let records = self.store.read(ids)?;
        self.take_in(ids, records);
        Ok(())
    }

    /// Hands on what was read, and notes what it says about records still to be heard.
    fn take_in(&mut self, ids: &[String], records: Vec<Option<Vec<u8>>>) {
        let mut hub = self.shared.hub.lock();
        for (id, record) in ids.iter().zip(records) {
            let trust = if record.is_some() { Trust::Reread } else { Trust::InOrder };
            // An id that was subscribed before may have news in the pipe that are older than this read.
            let trust = if self.subscribed.contains_key(id) { Trust::Reread } else { trust };
            self.subscribed.insert(id.clone(), trust);
            if let Some(record) = record {
                hub.deliver(id, record);
            }
        }
    }

    fn hand_on(&mut self, heard: Vec<(String, Vec<u8>)>) -> Result<()> {
        let mut reread = Vec::new();
        {
            let mut hub = self.shared.hub.lock();
            for (id, record) in heard {
                match self.subscribed.get(&id) {
                    // An end is one whenever it came: what is stored by now may be less.
                    Some(Trust::Reread) if !is_end(&record) && !hub.is_known(&id, &record) => reread.push(id),
                    // Somebody may want it that was not subscribed yet: an end is one all the same.
                    None if !is_end(&record) => {}
                    _ => hub.deliver(&id, record),
                }
            }
        }
        if reread.is_empty() { Ok(()) } else { self.read(&reread) }
    }
}
