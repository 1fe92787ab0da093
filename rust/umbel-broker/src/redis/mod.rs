//! Redis and what speaks its protocol (6.2 or newer): kombu's keys and envelope exactly, so that Celery's producers
//! and workers can share the database, and Umbel's own records beside them under `umbel:`.
//!
//! | key | what |
//! |---|---|
//! | `<queue>`, `<queue>\x06\x16<step>` | kombu's lists; pushed left, taken from the right |
//! | `unacked`, `unacked_index` | kombu's records of held messages; ours have tags `umbel:<worker>:<epoch>:<number>` |
//! | `_kombu.binding.*` | kombu's bindings |
//! | `umbel:worker:<id>` | a worker's epoch; lives as long as its lease |
//! | `umbel:workers` | worker ids by the end of their lease, to find those that fell silent |
//! | `umbel:delayed`, `umbel:delayed_messages` | messages waiting for their time |
//! | `umbel:dead`, `umbel:dead_messages` | dead letters |
//! | `umbel:revoked` | what is not to run, by the end of the revocation |
//! | `umbel:lock:<name>` | the task that keeps others like it from being published |
//! | `umbel:rate:<task>` | turns of a rate limit that workers share |
//! | `umbel:exchanges` | exchanges that are not direct or topic |

mod address;
mod admin;
mod advice;
mod consumer;
mod control;
mod culprit;
mod doorbell;
mod keys;
mod known;
mod link;
mod option_reader;
mod options;
mod publisher;
mod record;
mod router;
mod scripts;
mod tracking;
pub mod wire;

use std::sync::Arc;

use self::admin::RedisAdmin;
use self::consumer::RedisConsumer;
use self::control::{RedisControl, RedisListener};
use self::doorbell::RedisDoorbell;
use self::keys::Keys;
use self::publisher::RedisPublisher;
use crate::broker::{Admin, Broker, Consumer, ConsumerOptions, Doorbell, Publisher};
use crate::control::{Control, Listener};
use crate::error::Result;
use crate::url::TransportOptions;

#[doc(hidden)]
pub use consumer::SettlementWriter;
pub use known::{chord_key, flag, is_success, judgement, milliseconds, result_key};
pub use link::Link;
pub use options::{Credentials, Endpoint, RedisOptions, ResultLayout, Sentinels, Server, result_prefix};
pub use scripts::{COUNT, PARTS, STORE};

/// A Redis server as broker.
pub struct RedisBroker {
    options: Arc<RedisOptions>,
    keys: Arc<Keys>,
}

impl RedisBroker {
    /// A broker with `options`; nothing is connected yet.
    pub fn new(options: RedisOptions) -> Self {
        Self { keys: Arc::new(Keys::new(&options)), options: Arc::new(options) }
    }

    /// A broker at `url` with `broker_transport_options`.
    ///
    /// # Errors
    /// [`crate::BrokerError::Config`] for a URL or option that cannot be used.
    pub fn from_url(url: &str, options: &TransportOptions) -> Result<Self> {
        RedisOptions::parse(url, options).map(Self::new)
    }

    /// The same for a broker whose results go to the Redis at `result_url`: on the same server, as the same user, they
    /// are written together with acknowledgements, whatever their database and prefix.
    ///
    /// # Errors
    /// [`crate::BrokerError::Config`] for a broker's URL or option that cannot be used.
    pub fn beside(
        url: &str,
        options: &TransportOptions,
        result_url: &str,
        result_options: &TransportOptions,
    ) -> Result<Self> {
        let mut broker = RedisOptions::parse(url, options)?;
        if let Ok(results) = RedisOptions::parse(result_url, result_options)
            && results.store_name(0) == broker.store_name(0)
        {
            let prefix = result_prefix(&results.global_keyprefix);
            let unordered_chords = results.results.unordered_chords;
            broker.results = ResultLayout { db: Some(results.db), prefix, unordered_chords };
        }
        Ok(Self::new(broker))
    }
}

impl Broker for RedisBroker {
    fn display_url(&self) -> String {
        self.options.display.to_string()
    }

    fn identity(&self) -> String {
        self.options.results_identity(&self.options.results)
    }

    fn publisher(&self) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(RedisPublisher::open(self.options.clone(), self.keys.clone())?))
    }

    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(RedisConsumer::open(self.options.clone(), self.keys.clone(), options)?))
    }

    fn doorbell(&self, queues: &[String]) -> Result<Box<dyn Doorbell>> {
        Ok(Box::new(RedisDoorbell::open(self.options.clone(), self.keys.clone(), queues)?))
    }

    fn admin(&self) -> Result<Box<dyn Admin>> {
        Ok(Box::new(RedisAdmin::open(self.options.clone(), self.keys.clone())?))
    }

    fn control(&self) -> Result<Box<dyn Control>> {
        Ok(Box::new(RedisControl::open(self.options.clone(), self.keys.clone())?))
    }

    fn listener(&self, exchange: &str) -> Result<Box<dyn Listener>> {
        Ok(Box::new(RedisListener::open(self.options.clone(), self.keys.channel(exchange))?))
    }
}
