//! The conformance suite, for brokers that are Python objects.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyAssertionError, PyKeyError};
use pyo3::prelude::*;

use umbel_broker::{Broker, BrokerError, Capability, Clock, SystemClock};
use umbel_conformance::conformance::BrokerFixture;
use umbel_conformance::conformance::broker::Case;
use umbel_protocol::Timestamp;

use super::{Place, PythonBroker};

/// The cases: name, and the capabilities they are about.
#[pyfunction]
pub(super) fn conformance_cases() -> Vec<(&'static str, Vec<&'static str>)> {
    let needs = |case: &Case| case.needs().iter().map(|capability: &Capability| capability.name()).collect();
    Case::all().iter().map(|case| (case.name, needs(case))).collect()
}

/// Runs one case on a `umbel.testing.conformance.BrokerFixture`. Raises AssertionError with what is wrong.
#[pyfunction]
pub(super) fn run_conformance_case(py: Python<'_>, name: &str, fixture: Py<PyAny>) -> PyResult<()> {
    let case = Case::all().into_iter().find(|case| case.name == name);
    let case = case.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
    let fixture = PythonFixture::new(py, fixture)?;
    let outcome = py.detach(|| catch_unwind(AssertUnwindSafe(|| (case.run)(&fixture))));
    outcome.map_err(|panic| PyAssertionError::new_err(format!("{name}: {}", words(&*panic))))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (None, Some(words)) => words,
        (None, None) => "it broke in a thread; see the standard error stream",
    }
}

struct PythonFixture {
    fixture: Arc<Py<PyAny>>,
    open: Py<PyAny>,
    lease: Duration,
    delay: Duration,
    has_clock: bool,
}

impl PythonFixture {
    fn new(py: Python<'_>, fixture: Py<PyAny>) -> PyResult<Self> {
        let seconds = |name: &str| -> PyResult<Duration> {
            let seconds: f64 = fixture.getattr(py, name)?.extract(py)?;
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
        };
        Ok(Self {
            open: fixture.getattr(py, "open")?,
            lease: seconds("lease")?,
            delay: seconds("delay")?,
            has_clock: !fixture.call_method0(py, "now")?.is_none(py),
            fixture: Arc::new(fixture),
        })
    }

    fn call<A>(&self, method: &str, arguments: A)
    where
        A: for<'py> pyo3::call::PyCallArgs<'py>,
    {
        let place = Place { url: "fixture".to_owned(), setting: "fixture" };
        let called: Result<(), BrokerError> =
            place.attached(|py| self.fixture.call_method1(py, method, arguments).map(drop));
        called.unwrap_or_else(|error| panic!("{method} of the fixture failed: {error}"));
    }
}

impl BrokerFixture for PythonFixture {
    fn broker(&self) -> Arc<dyn Broker> {
        let broker = PythonBroker::open(&self.open);
        Arc::new(broker.unwrap_or_else(|error| panic!("the broker cannot be opened: {error}")))
    }

    fn advance(&self, duration: Duration) {
        self.call("advance", (duration.as_secs_f64(),));
    }

    fn clock(&self) -> Option<Arc<dyn Clock>> {
        self.has_clock.then(|| Arc::new(PythonClock(Arc::clone(&self.fixture))) as Arc<dyn Clock>)
    }

    fn inject_malformed(&self, queue: &str, raw: &[u8]) {
        self.call("inject_malformed", (queue, raw));
    }

    fn lease(&self) -> Duration {
        self.lease
    }

    fn delay(&self) -> Duration {
        self.delay
    }
}

/// The clock that a fixture moves.
struct PythonClock(Arc<Py<PyAny>>);

impl Clock for PythonClock {
    fn now(&self) -> Timestamp {
        let now = Python::try_attach(|py| self.0.call_method0(py, "now")?.extract::<f64>(py));
        now.and_then(Result::ok).map_or_else(|| SystemClock.now(), super::messages::moment)
    }
}
