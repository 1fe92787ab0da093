//! Names the key when the server says that one holds the wrong kind of value: the server itself does not.

use super::keys::Keys;
use super::wire::{Command, Connection, Pipeline, Value};
use crate::error::BrokerError;

/// A key, and the type it has when it is ours.
pub(super) type Typed = (String, &'static str);

/// `error` itself unless it is about a wrong type; then with the name of the key, if it is one of `keys`.
pub(super) fn name(connection: &mut Connection, error: BrokerError, keys: impl FnOnce() -> Vec<Typed>) -> BrokerError {
    let BrokerError::Protocol { detail } = &error else { return error };
    if !detail.contains("WRONGTYPE") {
        return error;
    }
    let (keys, mut look) = (keys(), Pipeline::default());
    keys.iter().for_each(|(key, _)| look.add(&Command::new("TYPE").arg(key)));
    let Ok(types) = connection.run(&look) else { return error };
    match keys.iter().zip(&types).find_map(|(key, found)| mismatch(key, found)) {
        Some(mismatch) => BrokerError::Protocol {
            detail: format!(
                "{detail}: {mismatch}, so it is not Umbel's; remove or rename it, or use another database or \
                 global_keyprefix"
            ),
        },
        None => error,
    }
}

fn mismatch((key, expected): &Typed, found: &Value) -> Option<String> {
    let found = found.as_str().filter(|found| !["none", *expected].contains(found))?;
    Some(format!("key {key:?} is of type {found} instead of {expected}"))
}

impl Keys {
    /// All keys a consumer of `queues` works with.
    pub(super) fn typed<'a>(&self, queues: impl Iterator<Item = &'a str>) -> Vec<Typed> {
        let own = [
            (&self.unacked, "hash"),
            (&self.unacked_index, "zset"),
            (&self.delayed, "zset"),
            (&self.delayed_messages, "hash"),
            (&self.dead, "zset"),
            (&self.dead_messages, "hash"),
            (&self.workers, "zset"),
            (&self.exchanges, "hash"),
        ];
        let lists = queues.flat_map(|queue| self.lists(queue)).map(|list| (list, "list"));
        lists.chain(own.map(|(key, kind)| (key.clone(), kind))).collect()
    }
}
