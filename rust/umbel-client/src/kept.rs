//! A connection that is opened when first needed, kept, and opened anew when it breaks.

use std::time::{Duration, Instant};

use umbel_broker::sync::FairMutex;
use umbel_broker::{BrokerError, NextStep, Result};

use crate::call::{Call, CallError};
use crate::retry_policy::{Backoff, RetryPolicy};

/// One connection of kind `C` that threads share, one at a time.
pub struct Kept<C> {
    open: Box<dyn Fn() -> Result<C> + Send + Sync>,
    connection: FairMutex<Option<C>>,
    policy: RetryPolicy,
    /// URL without password, for errors.
    url: String,
}

impl<C> Kept<C> {
    /// A connection that `open` makes when first needed.
    pub fn new(url: String, policy: RetryPolicy, open: impl Fn() -> Result<C> + Send + Sync + 'static) -> Self {
        Self { open: Box::new(open), connection: FairMutex::new(None), policy, url }
    }

    /// Runs `work` on the connection, and again (after reconnecting if need be) as long as its error says that this
    /// may help and `call` has time and patience; then the last error. `work` must be harmless when repeated.
    pub fn with<T>(
        &self,
        call: &mut Call<'_>,
        mut work: impl FnMut(&mut C) -> Result<T>,
    ) -> std::result::Result<T, CallError> {
        let mut backoff = Backoff::new(self.policy);
        let mut failing_since = None;
        loop {
            let error = match self.once(call, &mut work)? {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if error.next_step() == NextStep::GiveUp {
                return Err(error.into());
            }
            let patience = call.patience_left(*failing_since.get_or_insert_with(Instant::now));
            let pause = backoff.pause().min(patience.unwrap_or(Duration::MAX));
            if patience == Some(Duration::ZERO) || call.is_late_by(pause) {
                return Err(error.into());
            }
            log::debug!("{error}; next try in {pause:?}");
            call.pause(pause)?;
            call.pulse()?;
        }
    }

    /// One try. The outer error is that of waiting for the other threads.
    fn once<T>(
        &self,
        call: &mut Call<'_>,
        work: &mut impl FnMut(&mut C) -> Result<T>,
    ) -> std::result::Result<Result<T>, CallError> {
        let mut slot = loop {
            if let Some(slot) = self.connection.lock_until(call.nap()) {
                break slot;
            }
            call.pulse()?;
            if call.is_late() {
                return Err(no_answer(&self.url, call).into());
            }
        };
        let outcome = match &mut *slot {
            Some(connection) => work(connection),
            None => (self.open)().and_then(|opened| work(slot.insert(opened))),
        };
        if outcome.as_ref().is_err_and(|error| error.next_step() == NextStep::Reconnect) {
            *slot = None;
        }
        Ok(outcome)
    }

    /// Closes the connection, if open.
    pub fn close(&self) {
        let former = self.connection.lock().take();
        drop(former);
    }
}

/// What to say when time is up and no other error is known.
pub(crate) fn no_answer(url: &str, call: &Call<'_>) -> BrokerError {
    let seconds = call.timeout().unwrap_or_default().as_secs_f64();
    BrokerError::Unavailable { url: url.to_owned(), detail: format!("no answer within {seconds} s") }
}
