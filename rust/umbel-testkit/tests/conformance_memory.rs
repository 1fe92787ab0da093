//! The in-process engine passes the conformance suites.

use std::sync::Arc;
use std::time::Duration;

use umbel_backend::{Backend, MemoryBackend};
use umbel_broker::{Broker, Clock, ManualClock, MemoryBroker};
use umbel_protocol::{Malformed, Timestamp};
use umbel_testkit::conformance::{BackendFixture, BrokerFixture};

struct Memory {
    clock: Arc<ManualClock>,
    name: String,
}

impl Memory {
    fn start() -> Self {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_700_000_000.0)));
        Self { clock, name: format!("conformance-{number}") }
    }

    fn open(&self) -> MemoryBroker {
        MemoryBroker::named(&self.name, Arc::clone(&self.clock) as Arc<dyn Clock>)
    }
}

impl BrokerFixture for Memory {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.open())
    }

    fn advance(&self, duration: Duration) {
        self.clock.advance(duration.as_secs_f64());
    }

    fn clock(&self) -> Option<Arc<dyn Clock>> {
        Some(Arc::clone(&self.clock) as Arc<dyn Clock>)
    }

    fn inject_malformed(&self, queue: &str, raw: &[u8]) {
        self.open().store().push_malformed(queue, raw.to_vec(), Malformed::new("envelope", "injected"));
    }

    fn backend_in_same_store(&self) -> Option<Arc<dyn Backend>> {
        Some(self.backend())
    }
}

impl BackendFixture for Memory {
    fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(MemoryBackend::beside(&self.open()))
    }

    fn advance(&self, duration: Duration) {
        self.clock.advance(duration.as_secs_f64());
    }
}

mod broker {
    umbel_testkit::broker_conformance!(super::Memory::start);
}

mod backend {
    umbel_testkit::backend_conformance!(super::Memory::start);
}

mod same_store {
    umbel_testkit::same_store_conformance!(super::Memory::start);
}

/// The store in memory, listened to as stores are that tell nobody.
mod polling {
    use std::sync::Arc;
    use std::time::Duration;

    use umbel_backend::{Backend, PollingListener, ResultListener, ResultStore};
    use umbel_broker::Result;
    use umbel_testkit::conformance::BackendFixture;

    struct Polled(Arc<dyn Backend>);

    impl Backend for Polled {
        fn display_url(&self) -> String {
            self.0.display_url()
        }

        fn identity(&self) -> String {
            self.0.identity()
        }

        fn store(&self) -> Result<Box<dyn ResultStore>> {
            self.0.store()
        }

        fn listener(&self) -> Result<Box<dyn ResultListener>> {
            Ok(Box::new(PollingListener::new(self.store()?)))
        }
    }

    struct Polling(super::Memory);

    impl Polling {
        fn start() -> Self {
            Self(super::Memory::start())
        }
    }

    impl BackendFixture for Polling {
        fn backend(&self) -> Arc<dyn Backend> {
            Arc::new(Polled(self.0.backend()))
        }

        fn advance(&self, duration: Duration) {
            BackendFixture::advance(&self.0, duration);
        }
    }

    umbel_testkit::backend_conformance!(Polling::start);
}
