//! Slots in a file.

use rusqlite::{OptionalExtension, params};
use umbel_protocol::Timestamp;

use super::fault::Fault;
use super::lease::Key;
use super::places::Parcel;
use super::session::Step;
use crate::slots::{LONGEST_WAIT, LOOKED_AFTER, Slot, to_wake};

impl Step<'_> {
    /// Takes slots for a message that is held, or lets it wait. True if it has entered.
    pub(super) fn enter(&mut self, key: Key, slots: &[Slot]) -> Result<bool, Fault> {
        let mut full = None;
        for slot in slots {
            let mut taken = self
                .connection
                .prepare_cached("SELECT count(*) FROM slots WHERE name = ?1 AND NOT (epoch = ?2 AND sequence = ?3)")?;
            let taken: u32 = taken.query_row(params![slot.name, key.0, key.1], |row| row.get(0))?;
            if taken >= slot.limit {
                full = Some(slot);
                break;
            }
        }
        let Some(full) = full else {
            let mut take = self
                .connection
                .prepare_cached("INSERT OR IGNORE INTO slots (name, epoch, sequence) VALUES (?1, ?2, ?3)")?;
            for slot in slots {
                take.execute(params![slot.name, key.0, key.1])?;
            }
            return Ok(true);
        };
        if let Some(parcel) = self.release(key.0, key.1)? {
            self.wait_for(full, parcel)?;
        }
        // It may have been woken for one of the others, which somebody else can have.
        for slot in slots.iter().filter(|slot| slot.name != full.name) {
            self.wake_next(&slot.name)?;
        }
        Ok(false)
    }

    fn wait_for(&mut self, slot: &Slot, parcel: Parcel) -> Result<(), Fault> {
        let due = self.now.after(LONGEST_WAIT);
        let number = self.delay(parcel, due)?;
        let mut wait = self.connection.prepare_cached(
            "INSERT INTO waits (name, place, due, number)
             VALUES (?1, (SELECT 1 + coalesce(max(place), 0) FROM waits WHERE name = ?1), ?2, ?3)",
        )?;
        wait.execute(params![slot.name, due.0, number])?;
        let mut keep = self.connection.prepare_cached(
            "INSERT INTO limits (name, slots, seen) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET slots = excluded.slots",
        )?;
        keep.execute(params![slot.name, slot.limit, self.now.0])?;
        Ok(())
    }

    /// A slot is free again, if it was taken.
    pub(super) fn give_up_slot(&mut self, slot: &Slot, (epoch, sequence): Key) -> Result<(), Fault> {
        let mut leave =
            self.connection.prepare_cached("DELETE FROM slots WHERE name = ?1 AND epoch = ?2 AND sequence = ?3")?;
        leave.execute(params![slot.name, epoch, sequence])?;
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
    pub(super) fn look_after_slots(&mut self, pause: std::time::Duration) -> Result<(), Fault> {
        let mut select = self.connection.prepare_cached(
            "SELECT name, slots, (SELECT count(*) FROM slots WHERE slots.name = limits.name) FROM limits
             WHERE seen <= ?1 ORDER BY seen LIMIT ?2",
        )?;
        let rows = select.query_map(params![self.now.before(pause).0, LOOKED_AFTER as i64], |row| {
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
            "SELECT slots > (SELECT count(*) FROM slots WHERE slots.name = limits.name) FROM limits WHERE name = ?1",
        )?;
        let is_free: Option<bool> = free.query_row([name], |row| row.get(0)).optional()?;
        drop(free);
        if is_free == Some(true) { self.wake(name, 1) } else { Ok(()) }
    }

    /// Moves messages that wait to the fronts of their queues, those that wait longest in front.
    fn wake(&mut self, name: &str, count: u32) -> Result<(), Fault> {
        let mut woken = Vec::new();
        while woken.len() < count as usize {
            let mut next = self.connection.prepare_cached(
                "DELETE FROM waits WHERE name = ?1 AND place = (SELECT min(place) FROM waits WHERE name = ?1)
                 RETURNING due, number",
            )?;
            let place: Option<(i64, i64)> = next.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((due, number)) = place else {
                self.connection.prepare_cached("DELETE FROM limits WHERE name = ?1")?.execute([name])?;
                break;
            };
            woken.extend(self.take_delayed(Timestamp(due), number)?);
        }
        woken.into_iter().rev().try_for_each(|parcel| self.push_front(parcel))
    }
}
