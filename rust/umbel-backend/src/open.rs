//! From a URL to its result store: the same schemes as brokers have.

use std::sync::Arc;

use umbel_broker::sqlite::Location;
use umbel_broker::url::{Engine, memory_name};
use umbel_broker::{BrokerError, Clock, Result, TransportOptions};

use crate::backend::Backend;
use crate::{MemoryBackend, RedisBackend, SqliteBackend};

/// Opens the result store that `url` names, with `result_backend_transport_options`. No connection is made before a
/// handle is asked for.
///
/// # Errors
/// [`umbel_broker::BrokerError::Config`] for a URL or option that cannot be used.
pub fn open(url: &str, options: &TransportOptions, clock: Arc<dyn Clock>) -> Result<Arc<dyn Backend>> {
    match Engine::of(url, "result_backend")? {
        Engine::Memory => Ok(Arc::new(MemoryBackend::named(memory_name(url), clock))),
        Engine::Redis => Ok(Arc::new(RedisBackend::from_url(url, options)?)),
        Engine::Amqp => Err(BrokerError::Config {
            setting: "result_backend".to_owned(),
            detail:
                "RabbitMQ keeps no results: name Redis, a SQLite file, a database, or rpc:// where the caller waits"
                    .to_owned(),
        }),
        Engine::Sqlite => {
            let location = Location::parse(url, options, "result_backend")?;
            Ok(Arc::new(SqliteBackend::new(location, clock)))
        }
    }
}

#[cfg(test)]
mod tests {
    use umbel_broker::SystemClock;

    use super::*;

    #[test]
    fn each_scheme_opens_its_engine_and_knows_its_broker() {
        for url in ["memory://results", "sqlite:////nowhere/q.sqlite3", "redis://localhost:1/2"] {
            let (options, clock) = (TransportOptions::new(), Arc::new(SystemClock));
            let backend = open(url, &options, clock.clone()).expect(url);
            let broker = umbel_broker::open(url, &options, clock).expect(url);
            assert_eq!(backend.identity(), broker.identity(), "{url}");
        }
        let (results, options) = ("redis://localhost:1/3?global_keyprefix=app", TransportOptions::new());
        let clock = Arc::new(SystemClock);
        let backend = open(results, &options, clock.clone()).expect("a result store");
        for (url, is_same) in [("redis://localhost:1/2", true), ("redis://localhost:2/3", false), ("memory://", false)]
        {
            let broker = umbel_broker::open_beside(url, &options, results, &options, clock.clone()).expect(url);
            assert_eq!(backend.identity() == broker.identity(), is_same, "{url}");
        }
        let error = open("mongodb://h", &TransportOptions::new(), Arc::new(SystemClock)).err().expect("unknown");
        assert!(error.to_string().starts_with("result_backend: "), "{error}");
    }
}
