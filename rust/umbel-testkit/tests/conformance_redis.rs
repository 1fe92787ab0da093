//! The Redis engine passes the conformance suites, over every kind of connection.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::Commands;
use umbel_backend::{Backend, RedisBackend};
use umbel_broker::sync::Mutex;
use umbel_broker::{Broker, RedisBroker, TransportOptions};
use umbel_testkit::conformance::{BackendFixture, BrokerFixture};
use umbel_testkit::servers::{RedisServer, RedisSetup};

const PASSWORD: &str = "pässword/with:@signs?";

/// A server that the tests of one kind share while any of them runs.
type Shared = Mutex<Weak<RedisServer>>;

static PLAIN: Shared = Mutex::new(Weak::new());
static GUARDED: Shared = Mutex::new(Weak::new());
static TLS: Shared = Mutex::new(Weak::new());

fn shared(slot: &Shared, setup: impl FnOnce() -> RedisSetup) -> Option<Arc<RedisServer>> {
    let mut slot = slot.lock();
    if let Some(server) = slot.upgrade() {
        return Some(server);
    }
    let server = Arc::new(RedisServer::with(setup())?);
    *slot = Arc::downgrade(&server);
    Some(server)
}

/// A pair of databases of its own on a shared server: one for the broker, and the next for results kept apart.
struct Redis {
    server: Arc<RedisServer>,
    db: u32,
    url: String,
    options: TransportOptions,
    results_apart: bool,
}

impl Redis {
    fn on(server: Arc<RedisServer>, options: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let db = NUMBER.fetch_add(2, Ordering::SeqCst) % 4096;
        let mut options: TransportOptions =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // Channels ignore the database number, and the cases share task ids.
        options.insert("result_global_keyprefix".to_owned(), format!("results{db}"));
        Self { url: server.url(db), server, db, options, results_apart: false }
    }

    fn plain() -> Option<Self> {
        shared(&PLAIN, RedisSetup::default).map(|server| Self::on(server, &[]))
    }

    /// No RESP3, no client tracking: the doorbell polls.
    fn polling() -> Option<Self> {
        let options = [("client_tracking", "false"), ("polling_interval", "0.01")];
        shared(&PLAIN, RedisSetup::default).map(|server| Self::on(server, &options))
    }

    /// A unix socket, a password, and a prefix in front of every key.
    fn guarded() -> Option<Self> {
        let setup = || RedisSetup { password: Some(PASSWORD.to_owned()), ..RedisSetup::default() };
        let server = shared(&GUARDED, setup)?;
        let prefix = [("global_keyprefix", "pre:"), ("password", PASSWORD)];
        let mut redis = Self::on(server, &prefix);
        redis.url = format!("redis+socket://{}?virtual_host={}", redis.server.socket().display(), redis.db);
        Some(redis)
    }

    fn tls() -> Option<Self> {
        let server = shared(&TLS, || RedisSetup { tls: true, ..RedisSetup::default() })?;
        let authority = server.authority();
        Some(Self::on(server, &[("ssl_ca_certs", authority.to_str().expect("UTF-8"))]))
    }

    /// Results in another database of the same server.
    fn results_apart() -> Option<Self> {
        let mut redis = Self::plain()?;
        redis.results_apart = true;
        redis.options.insert("result_db".to_owned(), (redis.db + 1).to_string());
        Some(redis)
    }

    fn key(&self, queue: &str) -> String {
        format!("{}{queue}", self.options.get("global_keyprefix").map_or("", String::as_str))
    }

    /// Makes everything in the databases older: what expires, and what is ordered by time.
    fn age(&self, duration: Duration) {
        for db in [self.db, self.db + 1] {
            let mut client = self.server.client(db);
            let milliseconds = i64::try_from(duration.as_millis()).expect("a short while");
            for key in client.keys::<_, Vec<String>>("*").expect("KEYS") {
                match client.pttl::<_, i64>(&key).expect("PTTL") {
                    left if left > milliseconds => client.pexpire::<_, ()>(&key, left - milliseconds).expect("PEXPIRE"),
                    left if left >= 0 => client.del::<_, ()>(&key).expect("DEL"),
                    _ => {}
                }
            }
            let seconds = duration.as_secs_f64();
            for (name, amount) in [
                ("umbel:workers", duration.as_millis() as f64),
                ("umbel:lines_moved", duration.as_millis() as f64),
                ("umbel:limits_seen", duration.as_millis() as f64),
                ("umbel:revoked", duration.as_millis() as f64),
                ("unacked_index", seconds),
                ("umbel:delayed", seconds),
                ("umbel:dead", seconds),
            ] {
                let key = self.key(name);
                for member in client.zrange::<_, Vec<String>>(&key, 0, -1).expect("ZRANGE") {
                    client.zincr::<_, _, _, ()>(&key, member, -amount).expect("ZINCRBY");
                }
            }
        }
    }
}

impl BrokerFixture for Redis {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(RedisBroker::from_url(&self.url, &self.options).expect("a broker"))
    }

    fn advance(&self, duration: Duration) {
        self.age(duration);
    }

    fn inject_malformed(&self, queue: &str, raw: &[u8]) {
        let mut client = self.server.client(self.db);
        client.lpush::<_, _, ()>(self.key(queue), raw).expect("LPUSH");
    }

    fn backend_in_same_store(&self) -> Option<Arc<dyn Backend>> {
        Some(self.backend())
    }
}

impl BackendFixture for Redis {
    fn backend(&self) -> Arc<dyn Backend> {
        let mut options = self.options.clone();
        options.remove("result_db");
        options.insert("global_keyprefix".to_owned(), format!("results{}", self.db));
        let url = if self.results_apart { self.server.url(self.db + 1) } else { self.url.clone() };
        Arc::new(RedisBackend::from_url(&url, &options).expect("a result store"))
    }

    fn advance(&self, duration: Duration) {
        self.age(duration);
    }

    fn removes_expired_on_request(&self) -> bool {
        false
    }
}

mod plain {
    use super::Redis;

    umbel_testkit::broker_conformance!(optional Redis::plain);
    umbel_testkit::backend_conformance!(optional Redis::plain);
    umbel_testkit::same_store_conformance!(optional Redis::plain);
}

mod polling {
    umbel_testkit::broker_conformance!(optional super::Redis::polling);
}

mod guarded {
    use super::Redis;

    umbel_testkit::broker_conformance!(optional Redis::guarded);
    umbel_testkit::backend_conformance!(optional Redis::guarded);
    umbel_testkit::same_store_conformance!(optional Redis::guarded);
}

mod tls {
    use super::Redis;

    umbel_testkit::broker_conformance!(optional Redis::tls);
    umbel_testkit::backend_conformance!(optional Redis::tls);
}

mod results_apart {
    umbel_testkit::same_store_conformance!(optional super::Redis::results_apart);
}
