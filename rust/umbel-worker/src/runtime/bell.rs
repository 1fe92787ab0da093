//! The doorbell thread: listens for new messages while the last fetch came up short, and only then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_broker::sync::{Condvar, Mutex};
use umbel_broker::{Broker, Doorbell, Result};

use super::options::Pauses;
use super::shared::Shared;

/// How long one wait may last: the thread sees within this time that the worker has ended.
const SLICE: Duration = Duration::from_secs(1);

/// Tells the doorbell thread when to listen.
#[derive(Debug, Default)]
pub(super) struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    hungry: bool,
    stopping: bool,
}

impl Bell {
    /// The queues ran out: ring when there is more.
    pub(super) fn listen(&self) {
        let mut state = self.state.lock();
        if !state.hungry {
            state.hungry = true;
            self.changed.notify_all();
        }
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }

    pub(super) fn stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Waits until somebody is hungry; false when the worker ends.
    fn wait_for_hunger(&self) -> bool {
        let mut state = self.state.lock();
        while !state.hungry && !state.stopping {
            state = self.changed.wait(state);
        }
        !state.stopping
    }

    fn fed(&self) {
        self.state.lock().hungry = false;
    }

    pub(super) fn rest(&self, pause: Duration) {
        let deadline = Instant::now() + pause;
        let mut state = self.state.lock();
        let mut rested = false;
        while !state.stopping && !rested {
            (state, rested) = self.changed.wait_until(state, deadline);
        }
    }
}

/// The doorbell thread.
pub(super) struct Listener {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) queues: Vec<String>,
    pub(super) pauses: Pauses,
    pub(super) shared: Arc<Shared>,
}

impl Listener {
    pub(super) fn run(self) {
        let mut failures = 0;
        while !self.shared.bell.stopping() {
            let Err(error) = self.listen(&mut failures) else { return };
            failures += 1;
            let pause = self.pauses.after(failures);
            // The broker thread reports a broker that is away; this one only falls back to looking now and then.
            log::info!("cannot listen for messages on {}, next try in {pause:.1?}: {error}", self.broker.display_url());
            self.shared.bell.rest(pause);
            self.ring();
        }
    }

    /// Listens until the worker ends or the connection breaks.
    fn listen(&self, failures: &mut u32) -> Result<()> {
        let mut doorbell: Option<Box<dyn Doorbell>> = None;
        while self.shared.bell.wait_for_hunger() {
            let doorbell = match &mut doorbell {
                Some(doorbell) => doorbell,
                None => doorbell.insert(self.broker.doorbell(&self.queues)?),
            };
            if doorbell.wait(SLICE)? {
                self.ring();
            }
            *failures = 0;
        }
        Ok(())
    }

    /// There will be a fetch; if that comes up short, this thread is told to listen again.
    fn ring(&self) {
        self.shared.bell.fed();
        self.shared.ring();
    }
}
