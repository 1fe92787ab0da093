//! Who is alive: a worker's epochs and how long they count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use umbel_protocol::Timestamp;

use super::fault::Fault;
use super::session::Step;
use crate::broker::Tag;

/// One consumer handle's standing with the store.
pub(super) struct Lease {
    worker: String,
    duration: Duration,
    /// The epoch new tags carry.
    epoch: i64,
    /// All epochs under which this worker may hold messages: of this handle, and of earlier ones with its id.
    epochs: Vec<i64>,
    sequence: i64,
    /// Leases of others, by epoch.
    seen: HashMap<i64, Seen>,
}

/// A lease as this worker has seen it first since it was last renewed.
#[derive(Clone, Copy)]
struct Seen {
    expires: i64,
    at: Duration,
    left: Duration,
}

impl Seen {
    /// By the wall clock; or, because that may have been set back, by the time that has passed since.
    fn is_over(&self, step: &Step<'_>) -> bool {
        self.expires <= step.now.0 || step.steady.saturating_sub(self.at) > self.left
    }
}

/// A tag's numbers, if it is one of ours.
pub(super) type Key = (i64, i64);

impl Lease {
    /// Signs a worker on under a new epoch.
    pub(super) fn sign_on(step: &mut Step<'_>, worker: String, duration: Duration) -> Result<Self, Fault> {
        let mut lease = Self { worker, duration, epoch: 0, epochs: Vec::new(), sequence: 0, seen: HashMap::new() };
        lease.renew(step)?;
        lease.begin_epoch(step)?;
        Ok(lease)
    }

    fn begin_epoch(&mut self, step: &Step<'_>) -> Result<(), Fault> {
        let mut insert = step.connection.prepare_cached("INSERT INTO leases (worker, expires) VALUES (?1, ?2)")?;
        self.epoch = insert.insert(params![self.worker, step.now.after(self.duration).0])?;
        self.epochs.push(self.epoch);
        self.sequence = 0;
        Ok(())
    }

    /// Says "alive" for all epochs of the worker, and signs on anew if it was given up.
    /// False when its lease had run out or was gone.
    pub(super) fn renew(&mut self, step: &mut Step<'_>) -> Result<bool, Fault> {
        let mut select = step.connection.prepare_cached("SELECT epoch, expires FROM leases WHERE worker = ?1")?;
        let rows = select.query_map([&self.worker], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found = rows.collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
        let mut update = step.connection.prepare_cached("UPDATE leases SET expires = ?2 WHERE worker = ?1")?;
        update.execute(params![self.worker, step.now.after(self.duration).0])?;
        let in_time = found.iter().all(|(_, expires)| *expires > step.now.0);
        self.epochs = found.into_iter().map(|(epoch, _)| epoch).collect();
        if self.epoch != 0 && !self.epochs.contains(&self.epoch) {
            self.begin_epoch(step)?;
            return Ok(false);
        }
        Ok(in_time)
    }

    /// True when the lease is there and has most of its time left, so that a transaction need not renew it.
    pub(super) fn is_fresh(&self, connection: &rusqlite::Connection, now: Timestamp) -> Result<bool, Fault> {
        let mut select = connection.prepare_cached("SELECT expires FROM leases WHERE epoch = ?1")?;
        let expires: Option<i64> = select.query_row([self.epoch], |row| row.get(0)).optional()?;
        Ok(expires.is_some_and(|expires| Timestamp(expires) > now.after(self.duration.mul_f64(0.75))))
    }

    /// Key and tag of the next delivery.
    pub(super) fn next_tag(&mut self) -> (Key, Tag) {
        self.sequence += 1;
        let text = format!("{}.{}.{}", self.worker, self.epoch, self.sequence);
        ((self.epoch, self.sequence), Tag(Arc::from(text)))
    }

    /// What a tag of this worker stands for; `None` for a foreign one.
    pub(super) fn key(&self, tag: &Tag) -> Option<Key> {
        let numbers = tag.0.strip_prefix(&self.worker)?.strip_prefix('.')?;
        let (epoch, sequence) = numbers.split_once('.')?;
        let key = (epoch.parse().ok()?, sequence.parse().ok()?);
        self.epochs.contains(&key.0).then_some(key)
    }

    /// Returns everything the worker holds except `known`.
    pub(super) fn give_back(&self, step: &mut Step<'_>, known: &[Tag]) -> Result<(), Fault> {
        let kept: std::collections::HashSet<Key> = known.iter().filter_map(|tag| self.key(tag)).collect();
        // Later epochs first: what goes to the front last was taken first.
        for epoch in self.epochs.iter().rev() {
            step.give_back(*epoch, &|sequence| kept.contains(&(*epoch, sequence)), false)?;
        }
        Ok(())
    }

    /// Those of `known` that are not held any more.
    pub(super) fn lost(&self, step: &Step<'_>, known: &[Tag]) -> Result<Vec<Tag>, Fault> {
        let mut lost = Vec::new();
        for tag in known {
            let held = match self.key(tag) {
                Some((epoch, sequence)) => step.is_held(epoch, sequence)?,
                None => false,
            };
            if !held {
                lost.push(tag.clone());
            }
        }
        Ok(lost)
    }

    /// Takes back the messages of workers whose lease ran out; says how many.
    pub(super) fn reclaim(&mut self, step: &mut Step<'_>) -> Result<usize, Fault> {
        let mut returned = 0;
        for epoch in self.silent(step)? {
            returned += step.give_back(epoch, &|_| false, true)?;
            step.vacate(epoch)?;
            step.connection.prepare_cached("DELETE FROM leases WHERE epoch = ?1")?.execute([epoch])?;
        }
        Ok(returned)
    }

    /// Epochs of other workers whose lease ran out; later ones first.
    fn silent(&mut self, step: &Step<'_>) -> Result<Vec<i64>, Fault> {
        let mut select = step
            .connection
            .prepare_cached("SELECT epoch, expires FROM leases WHERE worker <> ?1 ORDER BY epoch DESC")?;
        let rows = select.query_map([&self.worker], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let before = std::mem::take(&mut self.seen);
        let mut silent = Vec::new();
        for row in rows {
            let (epoch, expires) = row?;
            let known = before.get(&epoch).copied().filter(|seen| seen.expires == expires);
            let left = Timestamp(expires).since(step.now);
            let seen = known.unwrap_or(Seen { expires, at: step.steady, left });
            if seen.is_over(step) {
                silent.push(epoch);
            } else {
                self.seen.insert(epoch, seen);
            }
        }
        Ok(silent)
    }

    /// Looks after the slots of all workers.
    pub(super) fn look_after_slots(&self, step: &mut Step<'_>) -> Result<(), Fault> {
        step.look_after_slots(self.duration)
    }

    /// Signs the worker off.
    pub(super) fn sign_off(&self, step: &mut Step<'_>) -> Result<(), Fault> {
        self.epochs.iter().try_for_each(|epoch| step.vacate(*epoch))?;
        step.connection.prepare_cached("DELETE FROM leases WHERE worker = ?1")?.execute([&self.worker])?;
        Ok(())
    }
}
