//! Being told by the server that lists have changed, without asking again and again.
//!
//! `CLIENT TRACKING` makes the server remember the keys a connection has read and tell it once when one changes. Asking
//! `EXISTS` for the lists arms it for all of them at once, even for lists that do not exist yet, and answers whether
//! there is something now: between the two nothing is missed. Only that question is tracked (`OPTIN`), not whatever
//! else the connection reads.

use std::time::Duration;

use super::keys::Keys;
use super::options::RedisOptions;
use super::wire::{Command, Connection, Pipeline, Protocol};
use crate::error::{BrokerError, Result};

/// How long an armed connection is trusted before it is asked again: notices a peer that vanished, and covers servers
/// that forget.
pub(super) const REARM: Duration = Duration::from_secs(5);

/// A connection that tracks, and true; where the server or a proxy will not, one that does not.
pub(super) fn connect(options: &RedisOptions) -> Result<(Connection, bool)> {
    if options.client_tracking {
        match tracking(options) {
            Err(BrokerError::Protocol { .. } | BrokerError::Access { .. }) => {}
            outcome => return outcome.map(|connection| (connection, true)),
        }
    }
    Ok((Connection::open(options, Protocol::Resp2)?, false))
}

fn tracking(options: &RedisOptions) -> Result<Connection> {
    let mut connection = Connection::open(options, Protocol::Resp3)?;
    connection.query(&Command::new("CLIENT").arg("TRACKING").arg("ON").arg("OPTIN"))?;
    // Both are commands of their own to a server that checks what a user may do.
    connection.query(&Command::new("CLIENT").arg("CACHING").arg("YES"))?;
    Ok(connection)
}

/// The question whether `queues` have messages, which arms a connection that tracks. Its last reply is the number of
/// lists that have some.
pub(super) fn look(keys: &Keys, queues: &[String], tracks: bool) -> Pipeline {
    let mut look = Pipeline::default();
    if tracks {
        look.add(&Command::new("CLIENT").arg("CACHING").arg("YES"));
    }
    look.add(&Command::new("EXISTS").args(queues.iter().flat_map(|queue| keys.lists(queue))));
    look
}
