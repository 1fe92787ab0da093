//! Results in a SQLite file, in the same transactions as [`umbel_broker::SqliteBroker`]'s messages.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::sqlite::Location;
use umbel_broker::sqlite::results::{Nudge, ResultEar, ResultTable};
use umbel_broker::{Broker, Clock, Result, SqliteBroker};
use umbel_protocol::{ChordPart, ResultWrite};

use crate::backend::{Backend, ListenerWaker, ResultListener, ResultStore};

/// A result store in a SQLite file.
pub struct SqliteBackend {
    file: SqliteBroker,
}

impl SqliteBackend {
    /// The store at `location`. The file is opened, and made if need be, when the first handle is asked for.
    pub fn new(location: Location, clock: Arc<dyn Clock>) -> Self {
        Self { file: SqliteBroker::new(location, clock) }
    }
}

impl Backend for SqliteBackend {
    fn display_url(&self) -> String {
        self.file.display_url()
    }

    fn identity(&self) -> String {
        self.file.identity()
    }

    fn store(&self) -> Result<Box<dyn ResultStore>> {
        Ok(Box::new(SqliteResults { table: ResultTable::open(&self.file)? }))
    }

    fn listener(&self) -> Result<Box<dyn ResultListener>> {
        let ear = ResultEar::open(&self.file)?;
        let nudge = ear.nudge()?;
        Ok(Box::new(SqliteListener { ear, nudge }))
    }
}

struct SqliteResults {
    table: ResultTable,
}

impl ResultStore for SqliteResults {
    fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        self.table.write(batch)
    }

    fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        self.table.read(task_ids)
    }

    fn forget(&mut self, task_ids: &[String]) -> Result<u64> {
        self.table.forget(task_ids)
    }

    fn remove_expired(&mut self) -> Result<u64> {
        self.table.remove_expired()
    }

    fn start_chord(&mut self, group: &str, size: u64, life: Option<Duration>) -> Result<()> {
        self.table.start_chord(group, size, life)
    }

    fn extend_chord(&mut self, group: &str) -> Result<()> {
        self.table.extend_chord(group)
    }

    fn count_part(&mut self, part: &ChordPart) -> Result<Option<String>> {
        self.table.count_part(part)
    }

    fn chord_parts(&mut self, group: &str) -> Result<Vec<Vec<u8>>> {
        self.table.chord_parts(group)
    }

    fn end_chord(&mut self, group: &str) -> Result<()> {
        self.table.end_chord(group)
    }
}

struct SqliteListener {
    ear: ResultEar,
    nudge: Nudge,
}

impl ResultListener for SqliteListener {
    fn subscribe(&mut self, task_ids: &[String]) -> Result<()> {
        self.ear.subscribe(task_ids)
    }

    fn unsubscribe(&mut self, task_ids: &[String]) -> Result<()> {
        self.ear.unsubscribe(task_ids);
        Ok(())
    }

    fn next(&mut self, timeout: Duration) -> Result<Vec<(String, Vec<u8>)>> {
        self.ear.next(timeout)
    }

    fn waker(&self) -> Box<dyn ListenerWaker> {
        Box::new(SqliteWaker(self.nudge.clone()))
    }
}

struct SqliteWaker(Nudge);

impl ListenerWaker for SqliteWaker {
    fn wake(&self) {
        self.0.nudge();
    }
}
