//! Publishing into a file.

use umbel_protocol::Destination;

use super::session::{Commit, Session};
use crate::broker::{ExchangeKind, Outgoing, Publisher};
use crate::error::Result;
use crate::once::{Lock, Taken};

pub(super) struct SqlitePublisher {
    session: Session,
}

impl SqlitePublisher {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }
}

impl Publisher for SqlitePublisher {
    fn publish(&mut self, batch: &[Outgoing]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.session.write(Commit::Durable, |step| step.publish(batch))
    }

    fn publish_once(&mut self, outgoing: &Outgoing, lock: &Lock) -> Result<Taken> {
        self.session.write(Commit::Durable, |step| step.publish_once(outgoing, lock))
    }

    fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<()> {
        self.session.write(Commit::Durable, |step| step.bind(queue, destination, kind))
    }
}
