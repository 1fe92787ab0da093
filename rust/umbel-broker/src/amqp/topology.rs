//! What is declared on the server, as Celery declares it: queues with their exchanges, and the exchanges and queues in which
//! messages wait for their time.
//!
//! Declarations have a channel of their own, which the server closes when it refuses one. What exists with other arguments
//! is used as it is: in a fleet where Celery has declared it, refusing to work would help nobody.

use std::collections::HashSet;

use umbel_amqp::error::{ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, RESOURCE_LOCKED};
use umbel_amqp::method::Ticket;
use umbel_amqp::{Error, Link, Method, Result, Table};

use super::options::{AmqpOptions, QueueType};
use crate::broker::ExchangeKind;

/// The channel of declarations.
const CHANNEL: u16 = 2;

/// Levels of the delay: 2^27 seconds down to one.
const LEVELS: u32 = 28;

/// The exchange that delayed messages leave from.
pub(super) const DELIVERY: &str = "celery_delayed_delivery";

/// The longest delay, in seconds: a message that is due later waits in several rounds.
pub(super) const LONGEST_DELAY: u64 = (1 << LEVELS) - 1;

/// What is known to be there. Of one connection.
#[derive(Debug, Default)]
pub(super) struct Topology {
    open: bool,
    queues: HashSet<String>,
    exchanges: HashSet<String>,
    delays: bool,
    /// Queues that delayed messages can come back to.
    delayed: HashSet<String>,
}

impl Topology {
    /// Calls a method on the channel of declarations.
    fn call(&mut self, link: &mut Link, method: &Method) -> Result<Method> {
        if !self.open {
            link.call(CHANNEL, &Method::channel_open())?;
            self.open = true;
        }
        link.call(CHANNEL, method).inspect_err(|_| self.open = false)
    }

    /// Declares `queue` with its exchange and binding, once.
    pub(super) fn queue(&mut self, link: &mut Link, options: &AmqpOptions, queue: &str) -> Result<()> {
        if self.queues.contains(queue) {
            return Ok(());
        }
        let spec = options.queue(queue);
        self.exchange(link, &spec.exchange, spec.kind)?;
        self.declare_queue(link, queue, spec.arguments)?;
        if !spec.exchange.is_empty() {
            self.tolerate(link, &Method::queue_bind(queue, &spec.exchange, &spec.routing_key), queue)?;
        }
        self.queues.insert(queue.to_owned());
        Ok(())
    }

    fn declare_queue(&mut self, link: &mut Link, queue: &str, arguments: Table) -> Result<()> {
        let Err(error) = self.call(link, &Method::queue_declare(queue, arguments)) else { return Ok(()) };
        if !is_refusal(&error) {
            return Err(error);
        }
        match self.call(link, &Method::queue_look(queue)) {
            Ok(_) => {
                log::warn!("queue {queue:?} is used as it is: {error}");
                Ok(())
            }
            Err(look) if look.ends_connection() => Err(look),
            // Another connection's own, for replies: messages can be sent to it.
            Err(look) if look.code() == Some(RESOURCE_LOCKED) => Ok(()),
            Err(_) => Err(error),
        }
    }

    /// Declares an exchange, once.
    pub(super) fn exchange(&mut self, link: &mut Link, name: &str, kind: ExchangeKind) -> Result<()> {
        if name.is_empty() || self.exchanges.contains(name) {
            return Ok(());
        }
        self.tolerate(link, &Method::exchange_declare(name, kind_name(kind), true), name)?;
        self.exchanges.insert(name.to_owned());
        Ok(())
    }

    /// Binds `queue`, which is declared, to an exchange.
    pub(super) fn bind(&mut self, link: &mut Link, queue: &str, exchange: &str, routing_key: &str) -> Result<()> {
        self.call(link, &Method::queue_bind(queue, exchange, routing_key)).map(drop)
    }

    /// Declares what may be there with other arguments, or what we may not declare.
    fn tolerate(&mut self, link: &mut Link, method: &Method, name: &str) -> Result<()> {
        match self.call(link, method) {
            Err(error) if is_refusal(&error) => {
                log::warn!("{name:?} is used as it is: {error}");
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Whether an exchange is there.
    pub(super) fn has_exchange(&mut self, link: &mut Link, name: &str) -> Result<bool> {
        if name.is_empty() || self.exchanges.contains(name) {
            return Ok(true);
        }
        let mut look = Method::exchange_declare(name, "direct", true);
        if let Method::ExchangeDeclare { passive, .. } = &mut look {
            *passive = true;
        }
        match self.call(link, &look) {
            Ok(_) => {
                self.exchanges.insert(name.to_owned());
                Ok(true)
            }
            Err(error) if error.code() == Some(NOT_FOUND) && !error.ends_connection() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How many messages are ready in a queue; `None` if there is no such queue.
    pub(super) fn length(&mut self, link: &mut Link, queue: &str) -> Result<Option<u32>> {
        match self.call(link, &Method::queue_look(queue)) {
            Ok(Method::QueueDeclareOk { message_count, .. }) => Ok(Some(message_count)),
            Err(error) if error.code() == Some(NOT_FOUND) && !error.ends_connection() => Ok(None),
            other => other.map(|_| None),
        }
    }

    /// Removes what is ready in a queue, which is there.
    pub(super) fn purge(&mut self, link: &mut Link, queue: &str) -> Result<u64> {
        let purge = Method::QueuePurge { ticket: Ticket, queue: queue.to_owned(), no_wait: false };
        match self.call(link, &purge)? {
            Method::QueuePurgeOk { message_count } => Ok(message_count.into()),
            _ => Ok(0),
        }
    }

    /// Forgets that an exchange or queue is there: somebody has deleted it.
    pub(super) fn forget(&mut self) {
        *self = Self { open: self.open, ..Self::default() };
    }

    /// Declares the delay in Celery's layout, and lets messages out of it into `queue`.
    ///
    /// Celery lets them out to the queue's exchange, by a pattern that begins with any number of words, and by which a queue
    /// `b` also receives what is meant for a queue `a.b`. Ours has the words counted.
    pub(super) fn delay(&mut self, link: &mut Link, options: &AmqpOptions, queue: &str) -> Result<()> {
        if self.delayed.contains(queue) {
            return Ok(());
        }
        if !self.delays {
            self.declare_delays(link, options.delay_queue_type)?;
            self.delays = true;
        }
        self.queue(link, options, queue)?;
        self.bind(link, queue, DELIVERY, &format!("{}{queue}", "*.".repeat(LEVELS as usize)))?;
        self.delayed.insert(queue.to_owned());
        Ok(())
    }

    /// All at once: a hundred answers in one round trip.
    fn declare_delays(&mut self, link: &mut Link, queue_type: QueueType) -> Result<()> {
        let methods = delay_methods(queue_type);
        if !self.open {
            link.call(CHANNEL, &Method::channel_open())?;
            self.open = true;
        }
        methods.iter().try_for_each(|method| link.send(CHANNEL, method))?;
        for _ in &methods {
            if let Err(error) = link.answer(CHANNEL) {
                self.open = false;
                if !is_refusal(&error) {
                    return Err(error);
                }
                // Declared by others, as another type: it serves as well, if all of it is there.
                let there = self.has_exchange(link, &level(LEVELS - 1))? && self.has_exchange(link, DELIVERY)?;
                return if there { Ok(()) } else { Err(error) };
            }
        }
        Ok(())
    }
}

fn is_refusal(error: &Error) -> bool {
    !error.ends_connection() && matches!(error.code(), Some(ACCESS_REFUSED | PRECONDITION_FAILED | RESOURCE_LOCKED))
}

/// As AMQP names it.
pub(super) fn kind_name(kind: ExchangeKind) -> &'static str {
    match kind {
        ExchangeKind::Direct => "direct",
        ExchangeKind::Topic => "topic",
        ExchangeKind::Fanout => "fanout",
    }
}

fn level(number: u32) -> String {
    format!("celery_delayed_{number}")
}

/// Celery's layout: at each level a message with a 1 in its place of the routing key waits, and one with a 0 goes on.
fn delay_methods(queue_type: QueueType) -> Vec<Method> {
    let mut methods = Vec::new();
    for number in (0..LEVELS).rev() {
        let skip = "*.".repeat((LEVELS - 1 - number) as usize);
        let name = level(number);
        let next = if number == 0 { DELIVERY.to_owned() } else { level(number - 1) };
        let mut arguments = Table::new()
            .with("x-queue-type", queue_type.name())
            .with("x-overflow", "reject-publish")
            .with("x-message-ttl", 1000_i64 << number)
            .with("x-dead-letter-exchange", next.as_str());
        if queue_type == QueueType::Quorum {
            arguments.set("x-dead-letter-strategy", "at-least-once");
        }
        methods.push(Method::exchange_declare(&name, "topic", true));
        methods.push(Method::queue_declare(&name, arguments));
        methods.push(Method::queue_bind(&name, &name, &format!("{skip}1.#")));
    }
    methods.push(Method::exchange_declare(DELIVERY, "topic", true));
    for number in (0..LEVELS).rev() {
        let skip = "*.".repeat((LEVELS - 1 - number) as usize);
        let next = if number == 0 { DELIVERY.to_owned() } else { level(number - 1) };
        methods.push(Method::exchange_bind(&next, &level(number), &format!("{skip}0.#")));
    }
    methods
}

/// Where to publish what is to come into `queue` after so many seconds: exchange and routing key.
pub(super) fn delayed_destination(queue: &str, seconds: u64) -> (String, String) {
    let seconds = seconds.clamp(1, LONGEST_DELAY);
    let mut key = String::with_capacity(2 * LEVELS as usize + queue.len());
    for place in (0..LEVELS).rev() {
        key.push(if seconds >> place & 1 == 1 { '1' } else { '0' });
        key.push('.');
    }
    (level(LEVELS - 1), key + queue)
}

/// The routing key behind those of the delay, if `key` has such.
pub(super) fn after_delay(key: &str) -> Option<&str> {
    let (places, rest) = key.split_at_checked(2 * LEVELS as usize)?;
    let is_place = |pair: &[u8]| matches!(pair, [b'0' | b'1', b'.']);
    places.as_bytes().chunks(2).all(is_place).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_written_as_celery_writes_them() {
        let (exchange, key) = delayed_destination("quo", 30);
        assert_eq!(exchange, "celery_delayed_27");
        assert_eq!(key, "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.1.1.1.0.quo");
        assert_eq!(after_delay(&key), Some("quo"));
        assert_eq!(after_delay("quo"), None);
        assert_eq!(after_delay(&key[2..]), None);
        assert!(delayed_destination("q", u64::MAX).1.starts_with("1.1.1."));
    }
}
