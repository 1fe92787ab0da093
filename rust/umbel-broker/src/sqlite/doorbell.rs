//! Waiting for work in a file.

use std::time::{Duration, Instant};

use super::bells::{Bell, FALLBACK};
use super::places;
use super::session::{Commit, Session};
use crate::broker::Doorbell;
use crate::error::{BrokerError, Result};

pub(super) struct SqliteDoorbell {
    session: Session,
    bell: Bell,
    queues: Vec<i64>,
}

impl SqliteDoorbell {
    pub(super) fn open(mut session: Session, names: &[String]) -> Result<Self> {
        let bell = Bell::hang(&mut session, names, &[])?;
        let queues =
            session.write(Commit::Repeatable, |step| names.iter().map(|name| step.queue_id(name)).collect())?;
        Ok(Self { session, bell, queues })
    }

    /// True when there is something to fetch; else how long to wait at most until there may be.
    fn look(&self) -> Result<(bool, Duration)> {
        let now = self.session.now();
        self.session.read(|connection| {
            for queue in &self.queues {
                if places::has_ready(connection, *queue)? {
                    return Ok((true, Duration::ZERO));
                }
            }
            let wait = places::next_due(connection)?.map_or(FALLBACK, |due| due.since(now).min(FALLBACK));
            Ok((wait.is_zero(), wait))
        })
    }
}

impl Doorbell for SqliteDoorbell {
    fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let start = Instant::now();
        loop {
            let (work, nap) = self.look()?;
            if work {
                return Ok(true);
            }
            let left = timeout.saturating_sub(start.elapsed());
            let heard = self.bell.wait(nap.min(left)).map_err(|error| BrokerError::Connection {
                url: self.session.location().display_url(),
                detail: format!("the socket to wait on failed: {error}"),
            })?;
            if heard.delayed {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }
}

impl Drop for SqliteDoorbell {
    fn drop(&mut self) {
        self.bell.take_down(&mut self.session);
    }
}
