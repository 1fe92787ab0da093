//! Locks of the in-process engine.

use std::collections::HashMap;

use umbel_protocol::Timestamp;

use super::state::State;
use crate::broker::Outgoing;
use crate::error::Result;
use crate::once::{Lock, Taken};

/// Locks by name: owner, and until when.
#[derive(Default)]
pub(super) struct Locks(HashMap<String, (String, Timestamp)>);

impl Locks {
    /// The owner of a lock that has not run out.
    fn owner(&self, name: &str, now: Timestamp) -> Option<&str> {
        self.0.get(name).filter(|(_, until)| *until > now).map(|(owner, _)| owner.as_str())
    }

    fn take(&mut self, lock: &Lock, now: Timestamp) {
        self.0.retain(|_, (_, until)| *until > now);
        self.0.insert(lock.name.clone(), (lock.owner.clone(), now.after(lock.life)));
    }

    /// Gives up a lock if it is that owner's.
    pub(super) fn release(&mut self, name: &str, owner: &str) {
        if self.0.get(name).is_some_and(|(held, _)| held == owner) {
            self.0.remove(name);
        }
    }
}

impl State {
    pub(super) fn publish_once(&mut self, outgoing: &Outgoing, lock: &Lock, now: Timestamp) -> Result<Taken> {
        let owner = self.locks.owner(&lock.name, now).map(str::to_owned);
        match owner {
            Some(owner) if owner == lock.owner => return Ok(Taken::Published { replaced: None }),
            Some(owner) if !lock.replace => return Ok(Taken::Refused { owner }),
            _ => {}
        }
        self.publish(std::slice::from_ref(outgoing), now)?;
        self.locks.take(lock, now);
        Ok(Taken::Published { replaced: owner })
    }
}
