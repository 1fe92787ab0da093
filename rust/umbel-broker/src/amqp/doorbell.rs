//! Tells of work to who does not consume, by looking now and then: a consumer hears on its own connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_amqp::Link;
use umbel_amqp::link::Next;

use super::failure;
use super::options::AmqpOptions;
use super::topology::Topology;
use crate::broker::Doorbell;
use crate::error::Result;

/// See [`crate::Doorbell`].
pub(super) struct AmqpDoorbell {
    options: Arc<AmqpOptions>,
    link: Link,
    topology: Topology,
    queues: Vec<String>,
}

impl AmqpDoorbell {
    pub(super) fn open(options: Arc<AmqpOptions>, queues: &[String]) -> Result<Self> {
        let link = options.open("doorbell", options.heartbeat)?;
        Ok(Self { options, link, topology: Topology::default(), queues: queues.to_vec() })
    }

    fn look(&mut self) -> umbel_amqp::Result<bool> {
        for queue in &self.queues {
            if self.topology.length(&mut self.link, queue)?.is_some_and(|length| length > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn wait_until(&mut self, deadline: Instant) -> umbel_amqp::Result<bool> {
        while !self.look()? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // Nothing is said on this connection but that it ends.
            while let Next::Event(_) = self.link.next(left.min(self.options.polling_interval), None)? {}
        }
        Ok(true)
    }
}

impl Doorbell for AmqpDoorbell {
    fn wait(&mut self, timeout: Duration) -> Result<bool> {
        self.wait_until(Instant::now() + timeout).map_err(|error| failure::using(&self.options.display, &error))
    }
}
