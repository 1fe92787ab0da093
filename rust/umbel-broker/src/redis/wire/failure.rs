//! From what went wrong to [`BrokerError`], by what the caller should do next.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::reply::ServerError;
use crate::error::BrokerError;

/// The server's codes for "not now".
const NOT_NOW: [&str; 10] =
    ["OOM", "LOADING", "READONLY", "MISCONF", "BUSY", "TRYAGAIN", "MASTERDOWN", "NOREPLICAS", "UNKILLABLE", "FAILOVER"];
/// The server's codes for "one of many": a node of a cluster, which keeps only some of the keys.
const CLUSTER: [&str; 4] = ["MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN"];
/// The server's codes for "not you".
const NOT_YOU: [&str; 4] = ["NOAUTH", "WRONGPASS", "NOPERM", "DENIED"];

/// The socket failed, or `patience` ran out.
pub(super) fn io(url: &str, error: &io::Error, patience: Duration) -> BrokerError {
    if let Some(rustls::Error::InvalidCertificate(reason)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        let detail = format!("its certificate is not trusted: {reason:?}; see ssl_ca_certs and ssl_check_hostname");
        return BrokerError::Access { url: url.to_owned(), detail };
    }
    let detail = match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer within {:.1} s", patience.as_secs_f64()),
        ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => error.to_string(),
    };
    BrokerError::Connection { url: url.to_owned(), detail }
}

/// The server refused.
pub(super) fn server(url: &str, error: &ServerError) -> BrokerError {
    let (url, detail) = (url.to_owned(), error.text.clone());
    let code = effective_code(error);
    if NOT_NOW.contains(&code) {
        return BrokerError::Unavailable { url, detail };
    }
    if error.text.contains("max number of clients") {
        // The server hangs up after these words.
        return BrokerError::Connection { url, detail };
    }
    if CLUSTER.contains(&code) {
        let detail = format!(
            "the server is a node of a Redis Cluster ({detail}), and Umbel's steps span keys that a cluster keeps \
             apart: name a Redis that is no cluster, a master found through sentinel:// for example"
        );
        return BrokerError::Config { setting: url, detail };
    }
    let about_password = error.text.contains("AUTH") || error.text.contains("invalid password");
    if NOT_YOU.contains(&code) || (code == "ERR" && about_password) {
        return BrokerError::Access { url, detail };
    }
    BrokerError::Protocol { detail: format!("{url} answered: {detail}") }
}

/// The code; of an error inside a script, which servers before 7.0 wrap in text, the inner one.
fn effective_code(error: &ServerError) -> &str {
    if error.code != "ERR" {
        return &error.code;
    }
    let inner = error.text.rsplit(": -").next().filter(|inner| inner.len() < error.text.len());
    inner.and_then(|inner| inner.split_ascii_whitespace().next()).unwrap_or(&error.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::NextStep;

    #[test]
    fn errors_say_what_to_do_next() {
        for (text, next) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", NextStep::Retry),
            ("ERR Error running script (call to f_1): @user_script:3: -OOM command not allowed", NextStep::Retry),
            ("LOADING Redis is loading the dataset in memory", NextStep::Retry),
            ("READONLY You can't write against a read only replica.", NextStep::Retry),
            ("ERR max number of clients reached", NextStep::Reconnect),
            ("MOVED 3999 127.0.0.1:6381", NextStep::GiveUp),
            ("CROSSSLOT Keys in request don't hash to the same slot", NextStep::GiveUp),
            ("NOAUTH Authentication required.", NextStep::GiveUp),
            ("WRONGPASS invalid username-password pair", NextStep::GiveUp),
            ("WRONGTYPE Operation against a key", NextStep::GiveUp),
        ] {
            let code = text.split(' ').next().unwrap_or_default().to_owned();
            assert_eq!(server("redis://h", &ServerError { code, text: text.into() }).next_step(), next, "{text}");
        }
        let cluster = ServerError { code: "ASK".into(), text: "ASK 3999 127.0.0.1:6381".into() };
        assert!(server("redis://h", &cluster).to_string().contains("no cluster"));
        let refused =
            ServerError { code: "ERR".into(), text: "ERR AUTH <password> called without any password".into() };
        assert!(matches!(server("redis://h", &refused), BrokerError::Access { .. }));
    }
}
