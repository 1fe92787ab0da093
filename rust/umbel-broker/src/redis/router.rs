//! From destination to queues: kombu's bindings, read when needed and remembered for a moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_protocol::Destination;

use super::keys::Keys;
use super::wire::{Command, Connection, Pipeline, Value};
use crate::broker::ExchangeKind;
use crate::error::{BrokerError, Result};
use crate::queue::{Binding, route};

/// How long a table is believed. A table that does not route a message is read again at once.
const BELIEVED: Duration = Duration::from_secs(2);

struct Table {
    read: Instant,
    bindings: Vec<(ExchangeKind, Binding)>,
}

/// Finds the queues of destinations.
pub(super) struct Router {
    keys: Arc<Keys>,
    tables: HashMap<String, Table>,
}

impl Router {
    pub(super) fn new(keys: Arc<Keys>) -> Self {
        Self { keys, tables: HashMap::new() }
    }

    /// Makes sure that every destination can be routed, reading bindings where needed.
    ///
    /// # Errors
    /// [`BrokerError::Unroutable`] for the first that has no queue.
    pub(super) fn prepare<'a>(
        &mut self,
        connection: &mut Connection,
        destinations: impl Iterator<Item = &'a Destination>,
    ) -> Result<()> {
        let named: Vec<&Destination> = destinations.filter(|destination| !destination.exchange.is_empty()).collect();
        let mut unknown: Vec<&str> = Vec::new();
        for destination in &named {
            let routed = self.fresh(&destination.exchange) && self.queues(destination).is_ok();
            if !routed && !unknown.contains(&destination.exchange.as_str()) {
                unknown.push(&destination.exchange);
            }
        }
        if !unknown.is_empty() {
            self.read(connection, &unknown)?;
        }
        named.iter().try_for_each(|destination| self.queues(destination).map(drop))
    }

    /// The queues a prepared destination leads to.
    ///
    /// # Errors
    /// [`BrokerError::Unroutable`].
    pub(super) fn queues(&self, destination: &Destination) -> Result<Vec<String>> {
        if destination.exchange.is_empty() {
            if destination.routing_key.is_empty() {
                return Err(unroutable(destination));
            }
            return Ok(vec![destination.routing_key.clone()]);
        }
        let table = self.tables.get(&destination.exchange).ok_or_else(|| unroutable(destination))?;
        route(destination, table.bindings.iter().map(|(kind, binding)| (*kind, binding)))
    }

    /// Adds a binding to the server's tables.
    pub(super) fn bind(
        &mut self,
        connection: &mut Connection,
        queue: &str,
        destination: &Destination,
        kind: ExchangeKind,
    ) -> Result<()> {
        let exchange = &destination.exchange;
        if exchange.is_empty() {
            return Ok(());
        }
        let pattern = if kind == ExchangeKind::Topic { topic_pattern(&destination.routing_key) } else { String::new() };
        let member = self.keys.binding_member(&destination.routing_key, &pattern, queue);
        let mut transaction = Pipeline::of(&Command::new("MULTI"));
        transaction.add(&Command::new("SADD").arg(self.keys.bindings(exchange)).arg(&member));
        transaction.add(&Command::new("SADD").arg(self.keys.permanent_bindings(exchange)).arg(&member));
        if kind == ExchangeKind::Fanout {
            transaction.add(&Command::new("HSET").arg(&self.keys.exchanges).arg(exchange).arg("fanout"));
        }
        transaction.add(&Command::new("EXEC"));
        for reply in connection.run(&transaction)? {
            connection.accept(reply)?;
        }
        self.tables.remove(exchange);
        Ok(())
    }

    fn fresh(&self, exchange: &str) -> bool {
        self.tables.get(exchange).is_some_and(|table| table.read.elapsed() < BELIEVED)
    }

    fn read(&mut self, connection: &mut Connection, exchanges: &[&str]) -> Result<()> {
        let mut pipeline = Pipeline::default();
        for exchange in exchanges {
            pipeline.add(&Command::new("SMEMBERS").arg(self.keys.bindings(exchange)));
            pipeline.add(&Command::new("HGET").arg(&self.keys.exchanges).arg(exchange));
        }
        let mut replies = connection.run(&pipeline)?.into_iter();
        for exchange in exchanges {
            let members = connection.accept(replies.next().unwrap_or(Value::Nil))?;
            let kind = connection.accept(replies.next().unwrap_or(Value::Nil))?;
            let is_fanout = kind.as_bytes() == Some(b"fanout");
            let bindings =
                members.into_elements().iter().filter_map(|member| self.binding(member, is_fanout)).collect();
            self.tables.insert((*exchange).to_owned(), Table { read: Instant::now(), bindings });
        }
        Ok(())
    }

    /// Exchange types live in clients' memory; of a binding only the pattern tells that it is a topic's.
    fn binding(&self, member: &Value, is_fanout: bool) -> Option<(ExchangeKind, Binding)> {
        let (routing_key, pattern, queue) = self.keys.split_binding(member.as_str()?)?;
        let kind = match (is_fanout, pattern) {
            (true, _) => ExchangeKind::Fanout,
            (false, "") => ExchangeKind::Direct,
            (false, _) => ExchangeKind::Topic,
        };
        Some((kind, Binding { routing_key: routing_key.to_owned(), queue: queue.to_owned() }))
    }
}

fn unroutable(destination: &Destination) -> BrokerError {
    BrokerError::Unroutable { exchange: destination.exchange.clone(), routing_key: destination.routing_key.clone() }
}

/// The regular expression kombu keeps beside a topic binding and matches with.
fn topic_pattern(routing_key: &str) -> String {
    let words: Vec<String> = routing_key
        .split('.')
        .map(|word| match word {
            "*" => "[^\\.]+".to_owned(),
            "#" => ".*?".to_owned(),
            word => word.chars().map(escaped).collect(),
        })
        .collect();
    format!("^{}$", words.join("\\."))
}

fn escaped(character: char) -> String {
    match character {
        '\0' => "\\000".to_owned(),
        '#' | '*' => character.to_string(),
        _ if character.is_alphanumeric() => character.to_string(),
        _ => format!("\\{character}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_patterns_are_kombus() {
        for (key, pattern) in
            [("a.*.c.#", "^a\\.[^\\.]+\\.c\\..*?$"), ("worker.#", "^worker\\..*?$"), ("a-b", "^a\\-b$"), ("", "^$")]
        {
            assert_eq!(topic_pattern(key), pattern);
        }
    }
}
