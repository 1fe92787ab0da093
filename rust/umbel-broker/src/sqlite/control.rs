//! What is said to all workers through a file, and what they must not forget.

use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension, params};
use umbel_protocol::{Destination, Limits, Message, Timestamp, envelope};

use super::bells::{Bell, FALLBACK, Tone};
use super::session::{ANSWERS, BROADCASTS, Commit, Session};
use crate::control::{Control, KEPT, Listener, Revocation, Revoked, micros};
use crate::error::{BrokerError, Result};
use crate::lane::{Lane, Turn};

pub(super) struct SqliteControl {
    session: Session,
    bell: Option<Bell>,
}

impl SqliteControl {
    pub(super) fn new(session: Session) -> Self {
        Self { session, bell: None }
    }

    fn take(&mut self, address: &str) -> Result<Vec<Message>> {
        let waiting = self.session.read(|connection| {
            let mut exists = connection.prepare_cached("SELECT 1 FROM answers WHERE address = ?1")?;
            Ok(exists.exists([address])?)
        })?;
        if !waiting {
            return Ok(Vec::new());
        }
        let rows = self.session.write(Commit::Repeatable, |step| {
            let mut take =
                step.connection.prepare_cached("DELETE FROM answers WHERE address = ?1 RETURNING id, message")?;
            let rows = take.query_map([address], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut rows = rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?;
            rows.sort_unstable_by_key(|(id, _)| *id);
            Ok(rows)
        })?;
        Ok(decode(rows.into_iter().map(|(_, message)| message)))
    }
}

/// Box addresses as they stand in the table.
fn name(address: &Destination) -> String {
    format!("{}\0{}", address.exchange, address.routing_key)
}

/// What cannot be decoded was written by another version.
fn decode(rows: impl Iterator<Item = Vec<u8>>) -> Vec<Message> {
    rows.filter_map(|row| envelope::decode(&row, &Limits::default()).ok()).collect()
}

fn wait_failed(session: &Session, error: &std::io::Error) -> BrokerError {
    BrokerError::Connection {
        url: session.location().display_url(),
        detail: format!("the socket to wait on failed: {error}"),
    }
}

impl Control for SqliteControl {
    fn revoke(&mut self, revocations: &[Revocation]) -> Result<()> {
        if revocations.is_empty() {
            return Ok(());
        }
        self.session.write(Commit::Durable, |step| {
            step.connection.prepare_cached("DELETE FROM revoked WHERE until <= ?1")?.execute([step.now.0])?;
            let mut keep = step.connection.prepare_cached(
                "INSERT INTO revoked (what, until) VALUES (?1, ?2)
                 ON CONFLICT (what) DO UPDATE SET until = max(until, excluded.until)",
            )?;
            for Revocation { what, until } in revocations {
                keep.execute(params![what.to_text(), until.0])?;
            }
            Ok(())
        })
    }

    fn revoked(&mut self) -> Result<Vec<Revocation>> {
        let now = self.session.now();
        self.session.read(|connection| {
            let mut select = connection.prepare_cached("SELECT what, until FROM revoked WHERE until > ?1")?;
            let rows = select.query_map([now.0], |row| Ok((row.get::<_, String>(0)?, Timestamp(row.get(1)?))))?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let kept = rows.into_iter().filter_map(|(what, until)| Some((Revoked::from_text(&what)?, until)));
            Ok(kept.map(|(what, until)| Revocation { what, until }).collect())
        })
    }

    fn turn(&mut self, limit: &str, pause: Duration, patience: Duration) -> Result<Turn> {
        self.session.write(Commit::Repeatable, |step| {
            let mut find = step.connection.prepare_cached("SELECT pause, next, later FROM lanes WHERE name = ?1")?;
            let read = |row: &rusqlite::Row<'_>| Ok(Lane { pause: row.get(0)?, next: row.get(1)?, later: row.get(2)? });
            let mut lane = find.query_row([limit], read).optional()?.unwrap_or_default();
            let turn = lane.turn(micros(pause), micros(patience), step.now.0);
            let mut keep = step
                .connection
                .prepare_cached("INSERT OR REPLACE INTO lanes (name, pause, next, later) VALUES (?1, ?2, ?3, ?4)")?;
            keep.execute(params![limit, lane.pause, lane.next, lane.later])?;
            Ok(turn)
        })
    }

    fn broadcast(&mut self, exchange: &str, message: &Message) -> Result<()> {
        let text = envelope::encode(message, &uuid::Uuid::new_v4().to_string());
        self.session.write(Commit::Repeatable, |step| {
            let old = step.now.before(KEPT).0;
            step.connection.prepare_cached("DELETE FROM broadcasts WHERE at < ?1")?.execute([old])?;
            let mut insert =
                step.connection.prepare_cached("INSERT INTO broadcasts (exchange, at, message) VALUES (?1, ?2, ?3)")?;
            insert.execute(params![exchange, step.now.0, text])?;
            step.ring(BROADCASTS, Tone::Ready);
            Ok(())
        })
    }

    fn open_box(&mut self, address: &Destination) -> Result<()> {
        self.session.write(Commit::Repeatable, |step| {
            let mut open =
                step.connection.prepare_cached("INSERT OR IGNORE INTO boxes (address, at) VALUES (?1, ?2)")?;
            open.execute(params![name(address), step.now.0])?;
            Ok(())
        })
    }

    fn collect(&mut self, address: &Destination, timeout: Duration) -> Result<Vec<Message>> {
        let (start, address) = (Instant::now(), name(address));
        let bell = match self.bell.take() {
            Some(bell) => bell,
            None => Bell::hang(&mut self.session, &[], &[ANSWERS])?,
        };
        let bell = self.bell.insert(bell);
        // Rings before this look are about what it finds.
        bell.wait(Duration::ZERO).map_err(|error| wait_failed(&self.session, &error))?;
        loop {
            let answers = self.take(&address)?;
            let left = timeout.saturating_sub(start.elapsed());
            if !answers.is_empty() || left.is_zero() {
                return Ok(answers);
            }
            if let Some(bell) = &self.bell {
                bell.wait(left.min(FALLBACK)).map_err(|error| wait_failed(&self.session, &error))?;
            }
        }
    }

    fn close_box(&mut self, address: &Destination) -> Result<()> {
        self.session.write(Commit::Repeatable, |step| {
            for statement in ["DELETE FROM answers WHERE address = ?1", "DELETE FROM boxes WHERE address = ?1"] {
                step.connection.prepare_cached(statement)?.execute([name(address)])?;
            }
            // Boxes of those who died before they closed them.
            let old = step.now.before(KEPT).0;
            let abandoned = "DELETE FROM answers WHERE address IN (SELECT address FROM boxes WHERE at < ?1)";
            for statement in [abandoned, "DELETE FROM boxes WHERE at < ?1"] {
                step.connection.prepare_cached(statement)?.execute([old])?;
            }
            Ok(())
        })
    }

    fn answer(&mut self, address: &Destination, message: &Message) -> Result<()> {
        let text = envelope::encode(message, &uuid::Uuid::new_v4().to_string());
        self.session.write(Commit::Repeatable, |step| {
            let mut insert = step.connection.prepare_cached(
                "INSERT INTO answers (address, message) SELECT address, ?2 FROM boxes WHERE address = ?1",
            )?;
            insert.execute(params![name(address), text])?;
            step.ring(ANSWERS, Tone::Ready);
            Ok(())
        })
    }
}

impl Drop for SqliteControl {
    fn drop(&mut self) {
        if let Some(bell) = self.bell.take() {
            bell.take_down(&mut self.session);
        }
    }
}

pub(super) struct SqliteListener {
    session: Session,
    bell: Bell,
    exchange: String,
    heard: i64,
}

impl SqliteListener {
    pub(super) fn open(mut session: Session, exchange: &str) -> Result<Self> {
        let bell = Bell::hang(&mut session, &[], &[BROADCASTS])?;
        let heard = session.read(|connection| {
            // The sequence remembers numbers whose rows are gone.
            let mut last = connection
                .prepare_cached("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'broadcasts'")?;
            Ok(last.query_row([], |row| row.get(0))?)
        })?;
        Ok(Self { session, bell, exchange: exchange.to_owned(), heard })
    }

    fn look(&mut self) -> Result<Vec<Message>> {
        let (heard, exchange) = (self.heard, &self.exchange);
        let rows = self.session.read(|connection| {
            let mut select = connection
                .prepare_cached("SELECT id, message FROM broadcasts WHERE id > ?1 AND exchange = ?2 ORDER BY id")?;
            let rows = select.query_map(params![heard, exchange], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?)
        })?;
        self.heard = rows.last().map_or(heard, |(id, _)| *id);
        Ok(decode(rows.into_iter().map(|(_, message)| message)))
    }
}

impl Listener for SqliteListener {
    fn next(&mut self, timeout: Duration) -> Result<Vec<Message>> {
        let start = Instant::now();
        loop {
            let messages = self.look()?;
            let left = timeout.saturating_sub(start.elapsed());
            if !messages.is_empty() || left.is_zero() {
                return Ok(messages);
            }
            // Whoever says something rings; a ring that was lost is made good by the next look.
            self.bell.wait(left).map_err(|error| wait_failed(&self.session, &error))?;
        }
    }
}

impl Drop for SqliteListener {
    fn drop(&mut self) {
        self.bell.take_down(&mut self.session);
    }
}
