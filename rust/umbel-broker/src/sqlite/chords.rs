//! Chords in a file. Their tables are made when the first chord needs them, so that files from before there were
//! chords go on without a change.

use rusqlite::{OptionalExtension, params};
use umbel_protocol::{ChordPart, chord};

use super::fault::Fault;
use super::results::ResultTable;
use super::session::{Commit, Step};
use crate::error::Result;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS chords (
    group_id TEXT PRIMARY KEY,
    size INTEGER,
    extra INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    expires INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chord_parts (
    group_id TEXT NOT NULL,
    placeless INTEGER NOT NULL,
    place INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    part BLOB NOT NULL,
    PRIMARY KEY (group_id, placeless, place, task_id)
) WITHOUT ROWID;
";

impl Step<'_> {
    fn chord_tables(&self) -> Result<(), Fault> {
        let known: bool = self
            .connection
            .prepare_cached("SELECT count(*) = 2 FROM sqlite_schema WHERE name IN ('chords', 'chord_parts')")?
            .query_row([], |row| row.get(0))?;
        if !known {
            self.connection.execute_batch(TABLES)?;
        }
        Ok(())
    }

    fn forget_chord(&self, group: &str) -> Result<(), Fault> {
        self.connection.prepare_cached("DELETE FROM chord_parts WHERE group_id = ?1")?.execute([group])?;
        self.connection.prepare_cached("DELETE FROM chords WHERE group_id = ?1")?.execute([group])?;
        Ok(())
    }

    fn forget_expired_chords(&self) -> Result<(), Fault> {
        let mut select = self.connection.prepare_cached("SELECT group_id FROM chords WHERE expires <= ?1 LIMIT 8")?;
        let expired = select.query_map([self.now.0], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        expired.iter().try_for_each(|group| self.forget_chord(group))
    }

    /// Counts a part; the members as JSON text if it was the last. With `claim` only the first to ask is told.
    pub(super) fn count_part(&mut self, part: &ChordPart, claim: bool) -> Result<Option<String>, Fault> {
        self.chord_tables()?;
        self.forget_expired_chords()?;
        let expires = part.expires.map(|life| self.now.after(life).0);
        let mut chord = self.connection.prepare_cached(
            "INSERT INTO chords (group_id, expires) VALUES (?1, ?2)
             ON CONFLICT (group_id) DO UPDATE SET expires = excluded.expires RETURNING size, extra, done",
        )?;
        let (size, extra, done): (Option<i64>, i64, bool) =
            chord.query_row(params![part.group, expires], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if done {
            return Ok(None);
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT OR IGNORE INTO chord_parts (group_id, placeless, place, task_id, part) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        insert.execute(params![part.group, part.index.is_none(), part.index.unwrap_or(0), part.task_id, part.part])?;
        let mut count = self.connection.prepare_cached("SELECT count(*) FROM chord_parts WHERE group_id = ?1")?;
        let counted: i64 = count.query_row([&part.group], |row| row.get(0))?;
        if size.map(|size| size + extra) != Some(counted) {
            return Ok(None);
        }
        if claim {
            self.connection.prepare_cached("UPDATE chords SET done = 1 WHERE group_id = ?1")?.execute([&part.group])?;
        }
        let mut select = self
            .connection
            .prepare_cached("SELECT task_id FROM chord_parts WHERE group_id = ?1 ORDER BY placeless, place, task_id")?;
        let members = select.query_map([&part.group], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        Ok(Some(chord::member_tuples(members.iter().map(String::as_str))))
    }

    /// Forgets the parts; late copies of members change nothing any more.
    pub(super) fn end_chord(&mut self, group: &str) -> Result<(), Fault> {
        self.chord_tables()?;
        self.connection.prepare_cached("DELETE FROM chord_parts WHERE group_id = ?1")?.execute([group])?;
        self.connection.prepare_cached("UPDATE chords SET done = 1 WHERE group_id = ?1")?.execute([group])?;
        Ok(())
    }
}

impl ResultTable {
    /// A chord begins, or begins anew, that waits for `size` parts.
    ///
    /// # Errors
    /// When the transaction could not be committed; likewise for the others.
    pub fn start_chord(&mut self, group: &str, size: u64, life: Option<std::time::Duration>) -> Result<()> {
        self.session().write(Commit::Durable, |step| {
            step.chord_tables()?;
            step.forget_expired_chords()?;
            step.forget_chord(group)?;
            let expires = life.map(|life| step.now.after(life).0);
            let mut insert =
                step.connection.prepare_cached("INSERT INTO chords (group_id, size, expires) VALUES (?1, ?2, ?3)")?;
            insert.execute(params![group, size as i64, expires])?;
            Ok(())
        })
    }

    /// A chord waits for one more part.
    ///
    /// # Errors
    /// As `start_chord`.
    pub fn extend_chord(&mut self, group: &str) -> Result<()> {
        self.session().write(Commit::Durable, |step| {
            step.chord_tables()?;
            let mut insert = step.connection.prepare_cached(
                "INSERT INTO chords (group_id, extra) VALUES (?1, 1)
                 ON CONFLICT (group_id) DO UPDATE SET extra = extra + 1",
            )?;
            insert.execute([group])?;
            Ok(())
        })
    }

    /// Counts a part of a chord, as a settlement does; every caller for whom it is complete is told the members.
    ///
    /// # Errors
    /// As `start_chord`.
    pub fn count_part(&mut self, part: &ChordPart) -> Result<Option<String>> {
        self.session().write(Commit::Durable, |step| step.count_part(part, false))
    }

    /// The parts of a chord, in the order of their places.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn chord_parts(&mut self, group: &str) -> Result<Vec<Vec<u8>>> {
        self.session().read(|connection| {
            let mut exists = connection.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'chord_parts'")?;
            if exists.query_row([], |_| Ok(())).optional()?.is_none() {
                return Ok(Vec::new());
            }
            let mut select = connection.prepare_cached(
                "SELECT part FROM chord_parts WHERE group_id = ?1 ORDER BY placeless, place, task_id",
            )?;
            Ok(select.query_map([group], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Forgets a chord.
    ///
    /// # Errors
    /// As `start_chord`.
    pub fn end_chord(&mut self, group: &str) -> Result<()> {
        self.session().write(Commit::Durable, |step| step.end_chord(group))
    }
}
