//! One blocking call: how long it may take, and who may interrupt it.

use std::time::{Duration, Instant};

use umbel_broker::BrokerError;

/// How often a waiting call asks whether to go on.
const PULSE: Duration = Duration::from_millis(100);

/// Why a call ended without what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The broker or result store failed, and went on failing until the deadline.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The caller's pulse said stop. What was being sent may have been sent.
    #[error("interrupted")]
    Interrupted,
}

/// The deadline of a call, and a pulse that runs about every 100 ms while it waits.
pub struct Call<'a> {
    started: Instant,
    timeout: Option<Duration>,
    patience: Option<Duration>,
    pulse: Option<&'a mut dyn FnMut() -> bool>,
}

impl<'a> Call<'a> {
    /// A call that may take `timeout` (`None`: for ever) and cannot be interrupted.
    pub fn new(timeout: Option<Duration>) -> Self {
        Self { started: Instant::now(), timeout, patience: None, pulse: None }
    }

    /// A call that `pulse` ends by returning false (a signal has arrived, say).
    pub fn interruptible(timeout: Option<Duration>, pulse: &'a mut dyn FnMut() -> bool) -> Self {
        Self { pulse: Some(pulse), ..Self::new(timeout) }
    }

    /// Has the call fail with the first error that comes `patience` or more after its first one, though its time may
    /// not be up: zero tries once. `None`: errors that may pass are borne until the deadline.
    pub fn with_patience(self, patience: Option<Duration>) -> Self {
        Self { patience, ..self }
    }

    /// How long it bears errors.
    pub fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// What is left of its patience when it has met errors since `since`; `None`: all there is.
    pub fn patience_left(&self, since: Instant) -> Option<Duration> {
        self.patience.map(|patience| patience.saturating_sub(since.elapsed()))
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// When it must end; `None` never.
    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| self.started.checked_add(timeout))
    }

    /// How long it may take in all.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether its time is up.
    pub fn is_late(&self) -> bool {
        self.is_late_by(Duration::ZERO)
    }

    /// Whether its time would be up after a pause.
    pub fn is_late_by(&self, pause: Duration) -> bool {
        self.timeout.is_some_and(|timeout| self.started.elapsed().saturating_add(pause) >= timeout)
    }

    /// Until when to sleep before the next [`Call::pulse`].
    pub fn nap(&self) -> Instant {
        let pulse = Instant::now() + PULSE;
        self.deadline().map_or(pulse, |deadline| deadline.min(pulse))
    }

    /// Asks whether to go on.
    pub fn pulse(&mut self) -> Result<(), CallError> {
        let go_on = self.pulse.as_mut().is_none_or(|pulse| pulse());
        if go_on { Ok(()) } else { Err(CallError::Interrupted) }
    }

    /// Sleeps for `pause`, in pieces short enough to be interrupted.
    pub fn pause(&mut self, pause: Duration) -> Result<(), CallError> {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(PULSE));
            self.pulse()?;
        }
    }
}
