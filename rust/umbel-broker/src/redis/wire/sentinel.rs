//! Asking sentinels where the master is.

use super::command::Command;
use super::connection::{Connection, Protocol};
use super::reply::Value;
use crate::error::{BrokerError, Result};
use umbel_net::Endpoint;

use crate::redis::options::{RedisOptions, Sentinels};

/// The master's address, from the first sentinel that knows a healthy one.
pub(super) fn find_master(sentinels: &Sentinels, options: &RedisOptions) -> Result<Endpoint> {
    let mut failure = None;
    for node in &sentinels.nodes {
        match ask(node, sentinels, options) {
            Ok(master) => return Ok(master),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| unknown(sentinels, options, "no sentinel is named in the URL")))
}

fn ask(node: &Endpoint, sentinels: &Sentinels, options: &RedisOptions) -> Result<Endpoint> {
    let mut connection = Connection::open_sentinel(node, sentinels, options)?;
    let question = Command::new("SENTINEL").arg("MASTER").arg(&sentinels.master_name);
    let answer = match connection.query(&question) {
        Err(BrokerError::Protocol { detail }) => return Err(unknown(sentinels, options, &detail)),
        answer => answer?.into_elements(),
    };
    let field = |name: &str| {
        let pair = answer.chunks_exact(2).find(|pair| pair[0].as_str() == Some(name));
        pair.and_then(|pair| pair[1].as_str()).unwrap_or_default()
    };
    let flags = field("flags");
    if flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected")) {
        return Err(unknown(sentinels, options, &format!("the sentinel sees it as {flags}")));
    }
    let others: usize = field("num-other-sentinels").parse().unwrap_or(0);
    if others < sentinels.min_other_sentinels {
        return Err(unknown(sentinels, options, &format!("the sentinel knows {others} others only")));
    }
    match field("port").parse() {
        Ok(port) => Ok(Endpoint::Tcp { host: field("ip").to_owned(), port }),
        Err(_) => Err(unknown(sentinels, options, "the sentinel gave no address")),
    }
}

/// Makes sure that `connection` is to a master: sentinels may be behind the times.
pub(super) fn check_role(connection: &mut Connection) -> Result<()> {
    let role = connection.query(&Command::new("ROLE"))?.into_elements();
    match role.first().and_then(Value::as_str) {
        Some("master") => Ok(()),
        role => Err(BrokerError::Connection {
            url: connection.url().to_owned(),
            detail: format!("the sentinels' master is a {} at present", role.unwrap_or("server without a role")),
        }),
    }
}

fn unknown(sentinels: &Sentinels, options: &RedisOptions, why: &str) -> BrokerError {
    let detail = format!("no master {:?} is known: {why}", sentinels.master_name);
    BrokerError::Connection { url: options.display.to_string(), detail }
}

impl Connection {
    fn open_sentinel(node: &Endpoint, sentinels: &Sentinels, options: &RedisOptions) -> Result<Self> {
        Self::open_at(node, options, &sentinels.credentials, None, Protocol::Resp2)
    }
}
