//! What a conformance suite asks of an engine's tests.

use std::sync::Arc;
use std::time::Duration;

use umbel_backend::Backend;
use umbel_broker::{Broker, Capability, Clock};

/// An empty broker of its own for one test, gone when dropped.
pub trait BrokerFixture: Sync {
    /// A broker over the fixture's store; each call may make a new object, as another process would.
    fn broker(&self) -> Arc<dyn Broker>;

    /// Lets `duration` pass for leases and due times: moves a clock, or waits.
    fn advance(&self, duration: Duration);

    /// The clock the broker reads, where that is not the machine's.
    fn clock(&self) -> Option<Arc<dyn Clock>> {
        None
    }

    /// Puts bytes that form no message into `queue`, behind the others.
    fn inject_malformed(&self, queue: &str, raw: &[u8]);

    /// Lease the cases open consumers with. Short where [`BrokerFixture::advance`] really waits.
    fn lease(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// How far in the future delayed messages are put. Short where [`BrokerFixture::advance`] really waits.
    fn delay(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Whether the broker says that it can do this.
    fn can(&self, capability: Capability) -> bool {
        self.broker().capabilities().has(capability)
    }

    /// The result store in the same store as the broker, where there is one.
    fn backend_in_same_store(&self) -> Option<Arc<dyn Backend>> {
        None
    }
}

/// An empty result store of its own for one test, gone when dropped.
pub trait BackendFixture: Sync {
    /// A result store over the fixture's store; each call may make a new object, as another process would.
    fn backend(&self) -> Arc<dyn Backend>;

    /// Lets `duration` pass for expiry: moves a clock, or waits.
    fn advance(&self, duration: Duration);

    /// Life that the expiry cases give records. Short where [`BackendFixture::advance`] really waits.
    fn life(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// True when expired records stay until [`umbel_backend::ResultStore::remove_expired`] takes them.
    fn removes_expired_on_request(&self) -> bool {
        true
    }
}
