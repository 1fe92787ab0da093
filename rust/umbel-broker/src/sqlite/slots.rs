//! Slots in a file.

use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use umbel_protocol::Timestamp;

use super::fault::Fault;
use super::lease::Key;
use super::places::Parcel;
use super::session::Step;
use crate::slots::{KEPT_FOR, LONGEST_WAIT, LOOKED_AFTER, Slot, to_wake};

impl Step<'_> {
    /// Takes slots for a message that is held, or lets it wait. True if it has entered.
    pub(super) fn enter(&mut self, key: Key, slots: &[Slot]) -> Result<bool, Fault> {
        self.connection.prepare_cached("DELETE FROM woken WHERE until <= ?1")?.execute([self.now.0])?;
        let mut full = None;
        for slot in slots {
            if !self.admits(slot, key)? {
                full = Some(slot);
                break;
            }
        }
        let Some(full) = full else {
            self.forget_woken(key)?;
            let mut take = self
                .connection
                .prepare_cached("INSERT OR IGNORE INTO slots (name, epoch, sequence) VALUES (?1, ?2, ?3)")?;
            for slot in slots {
                take.execute(params![slot.name, key.0, key.1])?;
            }
            return Ok(true);
        };
        let first = self.is_woken(&full.name, key)?;
        self.forget_woken(key)?;
        if let Some(parcel) = self.release(key.0, key.1)? {
            self.wait_for(full, parcel, first)?;
        }
        // It may have been woken for one that somebody else can have.
        slots.iter().try_for_each(|slot| self.wake_next(&slot.name))?;
        Ok(false)
    }

    /// Whether a message may enter: one that has its slot or was woken for it, or one before which nobody waits.
    fn admits(&self, slot: &Slot, key: Key) -> Result<bool, Fault> {
        let mut select = self.connection.prepare_cached(
            "SELECT (SELECT count(*) FROM slots WHERE name = ?1 AND NOT (epoch = ?2 AND sequence = ?3))
                  + (SELECT count(*) FROM woken WHERE name = ?1 AND message <>
                        (SELECT message FROM held WHERE epoch = ?2 AND sequence = ?3)),
                    EXISTS (SELECT 1 FROM waits WHERE name = ?1),
                    EXISTS (SELECT 1 FROM slots WHERE name = ?1 AND epoch = ?2 AND sequence = ?3)",
        )?;
        let (used, waits, has_one): (u32, bool, bool) =
            select.query_row(params![slot.name, key.0, key.1], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(has_one || (used < slot.limit && (!waits || self.is_woken(&slot.name, key)?)))
    }

    fn is_woken(&self, name: &str, (epoch, sequence): Key) -> Result<bool, Fault> {
        let mut exists = self.connection.prepare_cached(
            "SELECT 1 FROM woken WHERE name = ?1 AND message =
                (SELECT message FROM held WHERE epoch = ?2 AND sequence = ?3)",
        )?;
        Ok(exists.exists(params![name, epoch, sequence])?)
    }

    /// No slot is kept any more for a message that is held.
    fn forget_woken(&self, (epoch, sequence): Key) -> Result<(), Fault> {
        let mut forget = self.connection.prepare_cached(
            "DELETE FROM woken WHERE message = (SELECT message FROM held WHERE epoch = ?1 AND sequence = ?2)",
        )?;
        forget.execute([epoch, sequence])?;
        Ok(())
    }

    /// `first`: before all others.
    fn wait_for(&mut self, slot: &Slot, parcel: Parcel, first: bool) -> Result<(), Fault> {
        self.set_aside(&slot.name, parcel, LONGEST_WAIT, first)?;
        let mut keep = self.connection.prepare_cached(
            "INSERT INTO limits (name, slots, seen) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET slots = excluded.slots",
        )?;
        keep.execute(params![slot.name, slot.limit, self.now.0])?;
        Ok(())
    }

    /// Delays a message that waits under a name, behind or, as the `first`, before those that do.
    pub(super) fn set_aside(
        &mut self,
        name: &str,
        parcel: Parcel,
        longest: Duration,
        first: bool,
    ) -> Result<(), Fault> {
        let due = self.now.after(longest);
        let number = self.delay(parcel, due)?;
        let place = if first { "min(place) - 1" } else { "max(place) + 1" };
        let mut wait = self.connection.prepare_cached(&format!(
            "INSERT INTO waits (name, place, due, number)
             VALUES (?1, (SELECT coalesce({place}, 0) FROM waits WHERE name = ?1), ?2, ?3)",
        ))?;
        wait.execute(params![name, due.0, number])?;
        Ok(())
    }

    /// Takes the message that has waited longest under a name.
    pub(super) fn next_waiting(&mut self, name: &str) -> Result<Option<Parcel>, Fault> {
        loop {
            let mut next = self.connection.prepare_cached(
                "DELETE FROM waits WHERE name = ?1 AND place = (SELECT min(place) FROM waits WHERE name = ?1)
                 RETURNING due, number",
            )?;
            let place: Option<(i64, i64)> = next.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            drop(next);
            let Some((due, number)) = place else { return Ok(None) };
            if let Some(parcel) = self.take_delayed(Timestamp(due), number)? {
                return Ok(Some(parcel));
            }
        }
    }

    /// A slot is free again, if it was taken.
    pub(super) fn give_up_slot(&mut self, slot: &Slot, (epoch, sequence): Key) -> Result<(), Fault> {
        let mut leave =
            self.connection.prepare_cached("DELETE FROM slots WHERE name = ?1 AND epoch = ?2 AND sequence = ?3")?;
        if leave.execute(params![slot.name, epoch, sequence])? == 0 {
            self.forget_woken((epoch, sequence))?;
        }
        let mut keep =
            self.connection.prepare_cached("UPDATE limits SET slots = ?2 WHERE name = ?1 AND slots <> ?2")?;
        keep.execute(params![slot.name, slot.limit])?;
        drop((leave, keep));
        self.wake_next(&slot.name)
    }

    /// The slots of a holder that is gone.
    pub(super) fn vacate(&mut self, epoch: i64) -> Result<(), Fault> {
        let mut leave = self.connection.prepare_cached("DELETE FROM slots WHERE epoch = ?1 RETURNING name")?;
        let names = leave.query_map([epoch], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        drop(leave);
        names.iter().try_for_each(|name| self.wake_next(name))
    }

    /// Wakes those that wait although slots are free; each limit is looked at again after `pause`.
    pub(super) fn look_after_slots(&mut self, pause: Duration) -> Result<(), Fault> {
        let mut select = self.connection.prepare_cached(
            "SELECT name, slots, (SELECT count(*) FROM slots WHERE slots.name = limits.name)
                               + (SELECT count(*) FROM woken WHERE woken.name = limits.name AND until > ?3)
             FROM limits WHERE seen <= ?1 ORDER BY seen LIMIT ?2",
        )?;
        let rows = select.query_map(params![self.now.before(pause).0, LOOKED_AFTER as i64, self.now.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        let limits = rows.collect::<rusqlite::Result<Vec<(String, u32, u32)>>>()?;
        drop(select);
        for (name, slots, taken) in limits {
            let mut seen = self.connection.prepare_cached("UPDATE limits SET seen = ?2 WHERE name = ?1")?;
            seen.execute(params![name, self.now.0])?;
            drop(seen);
            self.wake(&name, to_wake(slots, taken))?;
        }
        Ok(())
    }

    /// Wakes the next that waits, if there is a slot for it.
    fn wake_next(&mut self, name: &str) -> Result<(), Fault> {
        let mut free = self.connection.prepare_cached(
            "SELECT slots > (SELECT count(*) FROM slots WHERE slots.name = limits.name)
                          + (SELECT count(*) FROM woken WHERE woken.name = limits.name AND until > ?2)
             FROM limits WHERE name = ?1",
        )?;
        let is_free: Option<bool> = free.query_row(params![name, self.now.0], |row| row.get(0)).optional()?;
        drop(free);
        if is_free == Some(true) { self.wake(name, 1) } else { Ok(()) }
    }

    /// Moves messages that wait to the fronts of their queues, those that wait longest in front.
    fn wake(&mut self, name: &str, count: u32) -> Result<(), Fault> {
        let mut woken = Vec::new();
        while woken.len() < count as usize {
            let Some(parcel) = self.next_waiting(name)? else {
                self.connection.prepare_cached("DELETE FROM limits WHERE name = ?1")?.execute([name])?;
                break;
            };
            woken.push(parcel);
        }
        let until = self.now.after(KEPT_FOR).0;
        for parcel in woken.into_iter().rev() {
            let mut keep = self
                .connection
                .prepare_cached("INSERT OR REPLACE INTO woken (name, message, until) VALUES (?1, ?2, ?3)")?;
            keep.execute(params![name, parcel.message, until])?;
            drop(keep);
            self.push_front(parcel)?;
        }
        Ok(())
    }
}
