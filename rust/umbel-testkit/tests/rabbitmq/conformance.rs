//! The conformance suite, on classic and on quorum queues.

use std::sync::Arc;
use std::time::Duration;

use umbel_amqp::{Address, Link, Login, Settings};
use umbel_broker::Broker;
use umbel_net::Endpoint;
use umbel_testkit::conformance::BrokerFixture;

use crate::surroundings::VirtualHost;

struct Rabbit {
    vhost: VirtualHost,
    queue_type: &'static str,
}

impl Rabbit {
    fn start(queue_type: &'static str) -> Option<Self> {
        Some(Self { vhost: VirtualHost::start()?, queue_type })
    }

    fn classic() -> Option<Self> {
        Self::start("classic")
    }

    /// Of the suite what is about queues themselves: such a queue takes its time to be made. What comes back to one comes
    /// when it has agreed with itself, not before the next answer.
    fn quorum() -> Option<Self> {
        const CASES: [&str; 6] =
            ["first_in", "ack_ends", "binary", "delay_hides", "dead_letters_say", "failed_deliveries"];
        const MORE: [&str; 6] = ["requeue_to_the_back", "settling", "follow_ups", "a_thousand", "foreign", "closing"];
        let thread = std::thread::current();
        let case = thread.name().and_then(|name| name.rsplit("::").next()).unwrap_or_default();
        CASES.iter().chain(&MORE).any(|start| case.starts_with(start)).then(|| Self::start("quorum"))?
    }
}

impl BrokerFixture for Rabbit {
    fn broker(&self) -> Arc<dyn Broker> {
        self.vhost.broker_with(&[("queue_type", self.queue_type)])
    }

    fn advance(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn inject_malformed(&self, _: &str, _: &[u8]) {
        unreachable!("RabbitMQ takes no properties that cannot be read")
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(200)
    }

    /// Whole seconds wait on the server.
    fn delay(&self) -> Duration {
        Duration::from_millis(1100)
    }
}

/// A connection that knows nothing of tasks.
pub(crate) fn plain_link(vhost: &VirtualHost) -> Link {
    let second = Duration::from_secs(10);
    let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: vhost.server.port };
    let address = Address { endpoint, tls: None, connect_timeout: second, timeout: second, keepalive: false };
    let settings = Settings {
        login: Login::Plain { user: "guest".to_owned(), password: "guest".to_owned() },
        virtual_host: vhost.name.clone(),
        name: "test".to_owned(),
        heartbeat: Duration::ZERO,
        frame_max: 131_072,
    };
    Link::open(&address, settings).expect("a connection")
}

mod classic {
    umbel_testkit::broker_conformance!(optional super::Rabbit::classic);
}

mod quorum {
    umbel_testkit::broker_conformance!(optional super::Rabbit::quorum);
}
