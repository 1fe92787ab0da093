//! What a queue is made of on every engine: priority steps, and how exchanges choose queues.

use std::collections::BTreeMap;

use umbel_protocol::Destination;

use crate::broker::ExchangeKind;
use crate::error::{BrokerError, Result};

/// The steps messages of one queue are sorted into, served in this order (kombu's default on Redis).
pub const PRIORITY_STEPS: [u8; 4] = [0, 3, 6, 9];

/// Index into [`PRIORITY_STEPS`] of a message: the highest step not above its priority, clamped to 0..=9.
pub fn step_index(priority: Option<i64>) -> usize {
    let clamped = priority.unwrap_or(0).clamp(0, 9);
    usize::try_from(clamped / 3).unwrap_or(0)
}

/// True when the topic `pattern` (`*` one word, `#` any number of words, none included) matches `key`.
pub fn topic_matches(pattern: &str, key: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let words: Vec<&str> = if key.is_empty() { Vec::new() } else { key.split('.').collect() };
    let (mut at, mut word) = (0, 0);
    // Where to resume when a guess for the latest `#` fails: only the latest can ever need more words.
    let mut resume: Option<(usize, usize)> = None;
    while word < words.len() {
        match pattern.get(at) {
            Some(&"#") => {
                resume = Some((at, word));
                at += 1;
            }
            Some(&part) if part == "*" || part == words[word] => {
                at += 1;
                word += 1;
            }
            _ => match resume {
                Some((hash, taken)) => {
                    resume = Some((hash, taken + 1));
                    at = hash + 1;
                    word = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|part| *part == "#" || (part.is_empty() && key.is_empty()))
}

/// One queue's claim on what is sent to an exchange.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// Key or pattern to compare with.
    pub routing_key: String,
    /// Queue that receives.
    pub queue: String,
}

impl Binding {
    /// True when a message sent with `routing_key` goes to this binding's queue.
    pub fn takes(&self, kind: ExchangeKind, routing_key: &str) -> bool {
        match kind {
            ExchangeKind::Direct => self.routing_key == routing_key,
            ExchangeKind::Topic => topic_matches(&self.routing_key, routing_key),
            ExchangeKind::Fanout => true,
        }
    }
}

/// Queues among `bindings` for a message, each once, in name order.
///
/// # Errors
/// [`BrokerError::Unroutable`] when there is none.
pub fn route<'a>(
    destination: &Destination,
    bindings: impl IntoIterator<Item = (ExchangeKind, &'a Binding)>,
) -> Result<Vec<String>> {
    let mut queues: Vec<String> = bindings
        .into_iter()
        .filter(|(kind, binding)| binding.takes(*kind, &destination.routing_key))
        .map(|(_, binding)| binding.queue.clone())
        .collect();
    queues.sort();
    queues.dedup();
    if queues.is_empty() { Err(unroutable(destination)) } else { Ok(queues) }
}

/// The error for a destination that no queue is bound to.
pub fn unroutable(destination: &Destination) -> BrokerError {
    BrokerError::Unroutable { exchange: destination.exchange.clone(), routing_key: destination.routing_key.clone() }
}

/// Bindings by exchange, for engines that keep them in memory.
#[derive(Debug, Default)]
pub struct Bindings(BTreeMap<String, Vec<(ExchangeKind, Binding)>>);

impl Bindings {
    /// Adds a binding; adding it again changes nothing.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for the anonymous exchange, which takes none.
    pub fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<()> {
        check_bindable(queue, destination)?;
        let binding = Binding { routing_key: destination.routing_key.clone(), queue: queue.to_owned() };
        let bound = self.0.entry(destination.exchange.clone()).or_default();
        if !bound.contains(&(kind, binding.clone())) {
            bound.push((kind, binding));
        }
        Ok(())
    }

    /// Queues a message sent to `destination` goes to.
    ///
    /// # Errors
    /// [`BrokerError::Unroutable`] when there is none.
    pub fn route(&self, destination: &Destination) -> Result<Vec<String>> {
        if destination.exchange.is_empty() {
            return anonymous_route(destination);
        }
        let bound = self.0.get(&destination.exchange).map(Vec::as_slice).unwrap_or_default();
        route(destination, bound.iter().map(|(kind, binding)| (*kind, binding)))
    }
}

/// The queue the anonymous exchange delivers to: the one named by the routing key.
///
/// # Errors
/// [`BrokerError::Unroutable`] for an empty routing key.
pub fn anonymous_route(destination: &Destination) -> Result<Vec<String>> {
    if destination.routing_key.is_empty() {
        return Err(unroutable(destination));
    }
    Ok(vec![destination.routing_key.clone()])
}

/// Refuses bindings that cannot work.
///
/// # Errors
/// [`BrokerError::Config`] for the anonymous exchange or a queue without a name.
pub fn check_bindable(queue: &str, destination: &Destination) -> Result<()> {
    let detail = match (queue.is_empty(), destination.exchange.is_empty()) {
        (false, false) => return Ok(()),
        (true, _) => "a queue needs a name".to_owned(),
        (_, true) => format!(
            "queue {queue:?} cannot be bound to the anonymous exchange, which delivers to the queue named by the \
             routing key; name an exchange, or send to the queue's name"
        ),
    };
    Err(BrokerError::Config { setting: "task_queues".to_owned(), detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_fall_into_kombus_steps() {
        let steps: Vec<u8> =
            [None, Some(-5), Some(2), Some(3), Some(5), Some(6), Some(8), Some(9), Some(12), Some(i64::MAX)]
                .into_iter()
                .map(|priority| PRIORITY_STEPS[step_index(priority)])
                .collect();
        assert_eq!(steps, [0, 0, 0, 3, 3, 6, 6, 9, 9, 9]);
    }

    #[test]
    fn topics_match_word_by_word() {
        for (pattern, key, expected) in [
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.c", false),
            ("a.*.c", "a.b.b.c", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#", "", true),
            ("#", "a.b", true),
            ("#.c", "a.b.c", true),
            ("#.c", "c", true),
            ("#.c", "a.c.b", false),
            ("a.#.c.#.e", "a.b.c.c.d.e", true),
            ("a.#.c.#.e", "a.b.d.e", false),
            ("*", "", false),
            ("", "", true),
            ("", "a", false),
            ("a.b", "a.b", true),
            ("a+b", "aab", false),
            ("a.*", "a.", true),
        ] {
            assert_eq!(topic_matches(pattern, key), expected, "{pattern:?} against {key:?}");
        }
    }

    #[test]
    fn many_hashes_do_not_take_exponential_time() {
        let pattern = vec!["#.a"; 40].join(".");
        let key = vec!["a"; 39].join(".") + ".b";
        assert!(!topic_matches(&pattern, &key));
    }

    #[test]
    fn bindings_route_each_queue_once() {
        let to = |exchange: &str, key: &str| Destination { exchange: exchange.into(), routing_key: key.into() };
        let mut bindings = Bindings::default();
        for (queue, key) in [("q1", "a.*"), ("q1", "a.#"), ("q2", "b")] {
            bindings.bind(queue, &to("x", key), ExchangeKind::Topic).expect("bind");
        }
        assert_eq!(bindings.route(&to("x", "a.b")).expect("route"), ["q1"]);
        assert!(matches!(bindings.route(&to("x", "c")), Err(BrokerError::Unroutable { .. })));
        assert!(matches!(bindings.route(&to("y", "a.b")), Err(BrokerError::Unroutable { .. })));
        assert!(matches!(bindings.route(&to("", "")), Err(BrokerError::Unroutable { .. })));
        assert_eq!(bindings.route(&to("", "q9")).expect("route"), ["q9"]);
        assert!(bindings.bind("q", &to("", "k"), ExchangeKind::Direct).is_err());
    }
}
