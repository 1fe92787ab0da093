//! Names of everything we keep in Redis. kombu's names are exact; ours begin with `umbel:`.

use super::options::RedisOptions;

/// Key names for one broker, `global_keyprefix` included unless a method says otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    sep: String,
    steps: Vec<u8>,
    /// Hash: tag to record.
    pub(crate) unacked: String,
    /// Sorted set: tags by the time somebody last vouched for them.
    pub(crate) unacked_index: String,
    /// Sorted set: ids of delayed messages by due time.
    pub(crate) delayed: String,
    /// Hash: those ids to envelopes.
    pub(crate) delayed_messages: String,
    /// Sorted set: ids of dead letters by time of death.
    pub(crate) dead: String,
    /// Hash: those ids to records.
    pub(crate) dead_messages: String,
    /// Sorted set: worker ids by the end of their lease as last announced, in ms.
    pub(crate) workers: String,
    /// Hash: exchange to its kind, where the bindings do not tell.
    pub(crate) exchanges: String,
    /// Sorted set: what is revoked, by the end of the revocation in ms.
    pub(crate) revoked: String,
    /// Put in front of an exchange's name, `global_keyprefix` and all, for what is said to everybody who listens.
    fanout: String,
}

impl Keys {
    pub(crate) fn new(options: &RedisOptions) -> Self {
        let prefix = options.global_keyprefix.clone();
        let own = |name: &str| format!("{prefix}umbel:{name}");
        Self {
            unacked: format!("{prefix}{}", options.unacked_key),
            unacked_index: format!("{prefix}{}", options.unacked_index_key),
            delayed: own("delayed"),
            delayed_messages: own("delayed_messages"),
            dead: own("dead"),
            dead_messages: own("dead_messages"),
            workers: own("workers"),
            exchanges: own("exchanges"),
            revoked: own("revoked"),
            fanout: format!("{prefix}{}", options.fanout_prefix),
            sep: options.sep.clone(),
            steps: options.priority_steps.clone(),
            prefix,
        }
    }

    /// Number of priority steps.
    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Key of the list called `name`.
    pub(crate) fn list(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Name, without prefix, of the list a message of `priority` goes to.
    pub(crate) fn list_name(&self, queue: &str, priority: Option<i64>) -> String {
        let priority = priority.unwrap_or(0).clamp(0, 9);
        let reached = self.steps.partition_point(|step| i64::from(*step) <= priority);
        self.step_name(queue, reached.saturating_sub(1))
    }

    fn step_name(&self, queue: &str, index: usize) -> String {
        match self.steps.get(index) {
            None | Some(0) => queue.to_owned(),
            Some(step) => format!("{queue}{}{step}", self.sep),
        }
    }

    /// Key of the list of `queue` at the priority step `index`.
    pub(crate) fn step_list(&self, queue: &str, index: usize) -> String {
        self.list(&self.step_name(queue, index))
    }

    /// Keys of all lists of `queue`, in order of service.
    pub(crate) fn lists(&self, queue: &str) -> Vec<String> {
        (0..self.steps.len()).map(|index| self.step_list(queue, index)).collect()
    }

    /// What all keys of ours begin with.
    pub(crate) fn own(&self) -> String {
        format!("{}umbel:", self.prefix)
    }

    /// Key that lives as long as the worker's lease.
    pub(crate) fn heartbeat(&self, worker_id: &str) -> String {
        format!("{}umbel:worker:{worker_id}", self.prefix)
    }

    /// Turns of a rate limit that workers share.
    pub(crate) fn lane(&self, name: &str) -> String {
        format!("{}umbel:rate:{name}", self.prefix)
    }

    /// A lock that a message has taken.
    pub(crate) fn lock(&self, name: &str) -> String {
        format!("{}umbel:lock:{name}", self.prefix)
    }

    /// The channel of an exchange that reaches whoever listens.
    pub(crate) fn channel(&self, exchange: &str) -> String {
        format!("{}{exchange}", self.fanout)
    }

    /// Until when kombu keeps the bindings of exchanges with short-lived queues.
    pub(crate) fn binding_deadlines(&self) -> String {
        format!("{}_kombu.binding_deadlines", self.prefix)
    }

    /// The bindings of an exchange.
    pub(crate) fn bindings(&self, exchange: &str) -> String {
        format!("{}_kombu.binding.{exchange}", self.prefix)
    }

    /// Those of them that protect the table from kombu's sweep.
    pub(crate) fn permanent_bindings(&self, exchange: &str) -> String {
        format!("{}_kombu.binding_permanent.{exchange}", self.prefix)
    }

    /// A binding as a member of those sets.
    pub(crate) fn binding_member(&self, routing_key: &str, pattern: &str, queue: &str) -> String {
        [routing_key, pattern, queue].join(&self.sep)
    }

    /// Routing key, pattern and queue of such a member.
    pub(crate) fn split_binding<'a>(&self, member: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
        let mut parts = member.splitn(3, self.sep.as_str());
        Some((parts.next()?, parts.next()?, parts.next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::TransportOptions;

    fn keys(options: &[(&str, &str)]) -> Keys {
        let options: TransportOptions = options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Keys::new(&RedisOptions::parse("redis://h", &options).expect("options"))
    }

    #[test]
    fn lists_are_where_kombu_looks() {
        let kombu = keys(&[]);
        for (priority, name) in [
            (None, "celery"),
            (Some(-1), "celery"),
            (Some(2), "celery"),
            (Some(3), "celery\u{6}\u{16}3"),
            (Some(4), "celery\u{6}\u{16}3"),
            (Some(9), "celery\u{6}\u{16}9"),
            (Some(12), "celery\u{6}\u{16}9"),
        ] {
            assert_eq!(kombu.list_name("celery", priority), name);
        }
        let other = keys(&[("sep", ":"), ("priority_steps", "0,5"), ("global_keyprefix", "pre-")]);
        assert_eq!(other.lists("q"), ["pre-q", "pre-q:5"]);
        assert_eq!(other.bindings("x"), "pre-_kombu.binding.x");
    }

    #[test]
    fn bindings_split_as_they_were_joined() {
        let keys = keys(&[]);
        let member = keys.binding_member("a.*", "^a\\.[^\\.]+$", "q");
        assert_eq!(member, "a.*\u{6}\u{16}^a\\.[^\\.]+$\u{6}\u{16}q");
        assert_eq!(keys.split_binding(&member), Some(("a.*", "^a\\.[^\\.]+$", "q")));
        assert_eq!(keys.split_binding("q"), None);
    }
}
