//! Lines in a file.

use rusqlite::{OptionalExtension, params};

use super::fault::Fault;
use super::places::Parcel;
use super::session::Step;
use crate::lines::{LONGEST_LINE, LOOKED_AFTER, STALE, WINDOW, name};

impl Step<'_> {
    /// A new message goes to the back of its queue, or waits for those before it in its line.
    pub(super) fn stand_in_line(&mut self, parcel: Parcel, line: &str) -> Result<(), Fault> {
        let name = name(&parcel.queue.to_string(), line);
        let mut any = self.connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM waits WHERE name = ?1)")?;
        let waits: bool = any.query_row([&name], |row| row.get(0))?;
        drop(any);
        if !waits && self.inside(&name)? < WINDOW {
            self.enter_queue(&name)?;
            return self.push_back(parcel);
        }
        self.set_aside(&name, parcel, LONGEST_LINE, false)
    }

    fn inside(&self, name: &str) -> Result<u32, Fault> {
        let mut select = self.connection.prepare_cached("SELECT inside FROM lines WHERE name = ?1")?;
        Ok(select.query_row([name], |row| row.get(0)).optional()?.unwrap_or(0))
    }

    /// Counts one more in the queue.
    fn enter_queue(&self, name: &str) -> Result<(), Fault> {
        let mut count = self.connection.prepare_cached(
            "INSERT INTO lines (name, inside, moved) VALUES (?1, 1, ?2)
             ON CONFLICT (name) DO UPDATE SET inside = inside + 1, moved = excluded.moved",
        )?;
        count.execute(params![name, self.now.0])?;
        Ok(())
    }

    /// A message of a line was taken from its queue: the next comes in.
    pub(super) fn give_up_place(&mut self, queue: &str, line: &str) -> Result<(), Fault> {
        let name = name(&self.queue_id(queue)?.to_string(), line);
        let mut count = self
            .connection
            .prepare_cached("UPDATE lines SET inside = max(inside - 1, 0), moved = ?2 WHERE name = ?1")?;
        if count.execute(params![name, self.now.0])? == 0 {
            return Ok(());
        }
        drop(count);
        self.let_in(&name, 1)
    }

    /// Lines that have not moved for long begin anew.
    pub(super) fn look_after_lines(&mut self) -> Result<(), Fault> {
        let mut select =
            self.connection.prepare_cached("SELECT name FROM lines WHERE moved <= ?1 ORDER BY moved LIMIT ?2")?;
        let rows = select.query_map(params![self.now.before(STALE).0, LOOKED_AFTER as i64], |row| row.get(0))?;
        let names = rows.collect::<rusqlite::Result<Vec<String>>>()?;
        drop(select);
        for name in names {
            let mut anew = self.connection.prepare_cached("UPDATE lines SET inside = 0, moved = ?2 WHERE name = ?1")?;
            anew.execute(params![name, self.now.0])?;
            drop(anew);
            self.let_in(&name, WINDOW)?;
        }
        Ok(())
    }

    fn let_in(&mut self, name: &str, most: u32) -> Result<(), Fault> {
        for _ in 0..most.min(WINDOW.saturating_sub(self.inside(name)?)) {
            let Some(parcel) = self.next_waiting(name)? else { break };
            self.push_back(parcel)?;
            self.enter_queue(name)?;
        }
        self.connection.prepare_cached("DELETE FROM lines WHERE name = ?1 AND inside = 0")?.execute([name])?;
        Ok(())
    }
}
