//! For people and tools.

use std::sync::Arc;
use std::time::Duration;

use umbel_amqp::Link;

use super::dead_letters;
use super::failure;
use super::message;
use super::options::AmqpOptions;
use super::sender::Sender;
use super::topology::Topology;
use crate::broker::{Admin, DeadLetter, Waiting};
use crate::error::Result;

/// See [`crate::Admin`].
pub(super) struct AmqpAdmin {
    options: Arc<AmqpOptions>,
    link: Link,
    topology: Topology,
    sender: Sender,
}

impl AmqpAdmin {
    pub(super) fn open(options: Arc<AmqpOptions>) -> Result<Self> {
        let link = options.open("admin", Duration::ZERO)?;
        let sender = Sender::new(Arc::clone(&options), "admin's messages");
        Ok(Self { options, link, topology: Topology::default(), sender })
    }

    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Link, &mut Topology, &mut Sender) -> umbel_amqp::Result<T>,
    ) -> Result<T> {
        work(&mut self.link, &mut self.topology, &mut self.sender)
            .map_err(|error| failure::using(&self.options.display, &error))
    }
}

impl Admin for AmqpAdmin {
    fn length(&mut self, queue: &str) -> Result<u64> {
        self.attempt(|link, topology, _| Ok(topology.length(link, queue)?.unwrap_or(0).into()))
    }

    fn peek(&mut self, queue: &str, limit: usize) -> Result<Vec<Waiting>> {
        self.attempt(|link, topology, _| {
            let mut waiting = Vec::new();
            dead_letters::walk(link, topology, queue, limit, |mut content| {
                dead_letters::forget_looks(&mut content);
                waiting.push(Waiting { payload: message::payload(&mut content, queue, ""), due: None });
                Ok(false)
            })?;
            Ok(waiting)
        })
    }

    fn purge(&mut self, queue: &str) -> Result<u64> {
        self.attempt(|link, topology, _| match topology.length(link, queue)? {
            None => Ok(0),
            Some(_) => topology.purge(link, queue),
        })
    }

    fn dead_letters(&mut self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>> {
        self.attempt(|link, topology, _| dead_letters::list(link, topology, offset, limit))
    }

    fn dead_letter(&mut self, id: &str) -> Result<Option<DeadLetter>> {
        self.attempt(|link, topology, _| dead_letters::find(link, topology, id))
    }

    fn dead_replay(&mut self, ids: &[String]) -> Result<u64> {
        self.attempt(|link, topology, sender| dead_letters::replay(link, topology, ids, sender))?
    }

    fn dead_purge(&mut self, ids: Option<&[String]>) -> Result<u64> {
        match ids {
            None => self.purge(dead_letters::QUEUE),
            Some([]) => Ok(0),
            Some(ids) => self.attempt(|link, topology, _| dead_letters::remove(link, topology, ids)),
        }
    }

    fn advice(&mut self) -> Result<Vec<String>> {
        let mut advice = Vec::new();
        if let Some(reason) = self.link.blocked() {
            advice.push(format!("RabbitMQ accepts no messages: {reason}"));
        }
        Ok(advice)
    }
}
