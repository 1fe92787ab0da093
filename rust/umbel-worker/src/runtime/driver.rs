//! The engine and who runs it: turns what stirs into inputs, runs the engine, and carries out what it wants.
//!
//! One turn: wait; collect what all sources have to say; feed it to the engine at one moment; carry out all outputs;
//! write to the children and hand the outbox over once. So a busy worker handles many jobs per system call.
//!
//! The engine thread takes a turn whenever something stirs. The broker thread takes one itself when it has little to
//! tell and nobody is at it ([`Helm::tell`]): a message for an idle worker then reaches its child without waking a
//! thread in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_broker::sync::Mutex;
use umbel_broker::{Clock, DeadReason, Settlement};
use umbel_protocol::Timestamp;

use super::children::{Children, NewChild, Source, Stir, Watch};
use super::control::{Mouth, Word};
use super::event::WorkerEvent;
use super::shared::{Shared, ToEngine, count};
use crate::engine::{ChildId, Engine, Input, Job, Notice, Outcome, Output, Verdict};
use crate::link::ToMain;

/// The longest wait; a clock that is set forward is noticed by then.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Inputs at most for which the broker thread takes a turn itself; with more to do it had better fetch the next.
const FEW: usize = 16;

/// The engine, for whoever has something to tell it.
pub(super) struct Helm {
    driver: Mutex<Driver>,
    /// What the engine thread sleeps at.
    watch: Watch,
    shared: Arc<Shared>,
}

impl Helm {
    pub(super) fn new(
        engine: Engine,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        mouth: Arc<Mouth>,
    ) -> std::io::Result<Self> {
        let driver = Driver::new(engine, clock, Arc::clone(&shared), mouth)?;
        Ok(Self { watch: driver.children.watch(), driver: Mutex::new(driver), shared })
    }

    /// The engine thread: runs until the engine has stopped, or the worker is abandoned.
    pub(super) fn run(&self) -> std::io::Result<()> {
        let mut stirring = Vec::new();
        let mut timeout = self.driver.lock().sleep();
        while let Some(wait) = timeout {
            self.watch.wait(wait, &mut stirring)?;
            let mut driver = self.driver.lock();
            driver.turn(&mut stirring);
            timeout = driver.sleep();
        }
        Ok(())
    }

    /// Kills whatever still runs: it can report to nobody any more, and its message will run elsewhere.
    pub(super) fn end(&self) {
        let mut driver = self.driver.lock();
        driver.phase = Phase::Stopped;
        driver.children.kill_all();
    }

    /// Tells the engine `inputs`, `weight` messages in all: in a turn of this thread, or by mail.
    pub(super) fn tell(&self, inputs: impl Iterator<Item = Input>, weight: usize) {
        let driver = if weight <= FEW { self.driver.try_lock() } else { None };
        let Some(mut driver) = driver else {
            return self.shared.to_engine.extend(inputs.map(ToEngine::Input));
        };
        driver.told(inputs);
        if driver.is_awaited() {
            self.shared.to_engine.knock();
        }
    }
}

/// What runs the engine.
struct Driver {
    engine: Engine,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    children: Children,
    mouth: Arc<Mouth>,
    now: Timestamp,
    /// On the clock that nobody sets: waiting for the wall clock could take for ever after it went back.
    wake_at: Option<Instant>,
    /// Until when the engine thread sleeps; `None` without end.
    sleeps_until: Option<Instant>,
    turn: Turn,
    phase: Phase,
}

/// What one turn collects; buffers that live on.
#[derive(Default)]
struct Turn {
    frames: Vec<ToMain>,
    outputs: Vec<Output>,
    /// An emptied buffer for outputs.
    spare: Vec<Output>,
    settlements: Vec<Settlement>,
    fetch: Option<usize>,
    events: Vec<WorkerEvent>,
    /// Inputs that follow from outputs.
    echoes: Vec<Input>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The engine has stopped.
    Stopped,
    /// Somebody pulled the plug; processes are killed.
    Abandoned,
}

impl Driver {
    fn new(engine: Engine, clock: Arc<dyn Clock>, shared: Arc<Shared>, mouth: Arc<Mouth>) -> std::io::Result<Self> {
        let children = Children::new(&shared.to_engine)?;
        let now = clock.now();
        let (turn, phase) = (Turn::default(), Phase::Running);
        Ok(Self { engine, clock, shared, children, mouth, now, wake_at: None, sleeps_until: None, turn, phase })
    }

    /// How long the engine thread is to wait (`Some(None)`: until something stirs); `None` when it is to end.
    fn sleep(&mut self) -> Option<Option<Duration>> {
        if self.phase != Phase::Running {
            return None;
        }
        let now = Instant::now();
        self.sleeps_until = self.due().map(|at| at.min(now + LONGEST_WAIT));
        Some(self.sleeps_until.map(|at| at.saturating_duration_since(now)))
    }

    /// When something is to happen by itself.
    fn due(&self) -> Option<Instant> {
        self.wake_at.into_iter().chain(self.children.next_kill()).min()
    }

    /// Whether the engine thread must be woken after a turn that was not its own.
    fn is_awaited(&self) -> bool {
        let earlier = |due: Instant| self.sleeps_until.is_none_or(|until| due < until);
        self.phase != Phase::Running || self.due().is_some_and(earlier)
    }

    /// A turn of the engine thread.
    fn turn(&mut self, stirring: &mut Vec<Source>) {
        self.now = self.clock.now();
        for source in stirring.drain(..) {
            self.attend(source);
        }
        self.children.kill_stragglers(Instant::now());
        if self.wake_at.is_some_and(|at| at <= Instant::now()) {
            self.wake_at = None;
            self.input(Input::Tick);
        }
        self.carry_out();
    }

    /// A turn of another thread.
    fn told(&mut self, inputs: impl Iterator<Item = Input>) {
        if self.phase != Phase::Running {
            return;
        }
        self.now = self.clock.now();
        // What was told before comes first.
        self.read_mail();
        inputs.for_each(|input| self.input(input));
        self.carry_out();
    }

    fn input(&mut self, input: Input) {
        self.engine.handle(self.now, input, &mut self.turn.outputs);
    }

    fn attend(&mut self, source: Source) {
        match source {
            Source::Mailbox => self.read_mail(),
            Source::Link(child) => {
                let mut frames = std::mem::take(&mut self.turn.frames);
                let stir = self.children.receive(child, &mut frames);
                self.heard(child, frames, stir);
            }
            Source::Process(child) => {
                let mut frames = std::mem::take(&mut self.turn.frames);
                let stir = self.children.process_ended(child, &mut frames);
                self.heard(child, frames, stir);
            }
        }
    }

    fn heard(&mut self, child: ChildId, mut frames: Vec<ToMain>, stir: Stir) {
        for frame in frames.drain(..) {
            self.frame(child, frame);
        }
        self.turn.frames = frames;
        if let Stir::Gone { pid, how } = stir {
            self.gone(child, pid, how);
        }
    }

    fn frame(&mut self, child: ChildId, frame: ToMain) {
        match frame {
            ToMain::Ready { slots, .. } => {
                if let Some((slots, killable)) = self.children.ready(child, slots) {
                    self.input(Input::ChildReady { child, slots, killable });
                }
            }
            ToMain::Started(jobs) => self.input(Input::Started { child, jobs }),
            ToMain::Progress { job, result } => self.input(Input::Progress { job, result }),
            ToMain::Finished(outcomes) => {
                let ended = outcomes.into_iter().map(|outcome| Input::Finished { child, outcome });
                self.engine.handle_all(self.now, ended, &mut self.turn.outputs);
            }
            ToMain::Returned(jobs) => self.input(Input::Returned { child, jobs }),
            ToMain::Retiring => self.input(Input::Retiring { child }),
            ToMain::WantsRelief => self.input(Input::WantsRelief { child }),
        }
    }

    fn read_mail(&mut self) {
        for message in self.shared.to_engine.take() {
            match message {
                ToEngine::Input(input) => self.mailed(input),
                ToEngine::Child(new) => self.adopt(new),
                ToEngine::Disconnected => self.disconnected(),
                ToEngine::Reconnected(lost) => self.input(Input::Reconnected { lost }),
                ToEngine::Stats(asker) => {
                    // Who asked may have given up waiting.
                    let _ = asker.send(self.shared.traffic.snapshot(self.engine.stats()));
                }
                ToEngine::Revoked(asker) => {
                    let _ = asker.send(self.engine.revoked(self.now));
                }
                ToEngine::Present(ids, asker) => {
                    let _ = asker.send(self.engine.present(&ids));
                }
                ToEngine::Abandon => self.phase = Phase::Abandoned,
            }
        }
    }

    fn mailed(&mut self, input: Input) {
        let ends = matches!(input, Input::Shutdown(_));
        self.input(input);
        // An engine that ends waits for the answer to its last fetch.
        if ends && self.shared.outbox.unpark().is_some() {
            self.input(Input::Delivered { deliveries: Vec::new(), next_due: None });
        }
    }

    fn adopt(&mut self, new: NewChild) {
        let (child, pid) = (new.child, new.pid);
        if let Err(error) = self.children.add(new) {
            self.gone(child, pid, format!("it could not be taken over: {error}"));
        }
    }

    fn gone(&mut self, child: ChildId, pid: Option<i32>, how: String) {
        let before = self.turn.outputs.len();
        self.input(Input::ChildGone { child, how: how.clone() });
        // The engine does not know processes, and says nothing of a child that never was ready.
        let notice = self.turn.outputs[before..]
            .iter()
            .position(|output| matches!(output, Output::Notice(Notice::ChildGone { .. })))
            .map(|index| self.turn.outputs.remove(before + index));
        let (expected, running) = match notice {
            Some(Output::Notice(Notice::ChildGone { expected, running, .. })) => (expected, running),
            _ => (false, Vec::new()),
        };
        self.turn.events.push(WorkerEvent::ChildGone { child, pid, how, expected, running });
    }

    /// What was given out and not confirmed is forgotten here: the engine gives it out again.
    fn disconnected(&mut self) {
        self.carry_out();
        self.input(Input::Disconnected);
        self.carry_out();
        self.shared.outbox.reset(self.engine.held_tags());
    }

    fn carry_out(&mut self) {
        while !self.turn.outputs.is_empty() {
            let mut outputs = std::mem::replace(&mut self.turn.outputs, std::mem::take(&mut self.turn.spare));
            for output in outputs.drain(..) {
                self.perform(output);
            }
            self.turn.spare = outputs;
            for input in std::mem::take(&mut self.turn.echoes) {
                self.input(input);
            }
        }
        self.children.flush();
        self.shared.outbox.add(&mut self.turn.settlements, self.turn.fetch.take());
        self.shared.events.extend(self.turn.events.drain(..));
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Fetch { want } => self.turn.fetch = Some(want),
            Output::Settle(mut settlements) => self.turn.settlements.append(&mut settlements),
            Output::Dispatch { child, jobs } => self.dispatch(child, jobs),
            Output::Recall { child, jobs } => self.children.send_recall(child, &jobs),
            Output::SoftLimit { child, job } => self.children.send_soft_limit(child, job),
            Output::Cancel { child, job, why } => self.children.send_cancel(child, job, why),
            Output::StopChild { child } => self.children.send_stop(child),
            Output::AskTurn { job, limit, pause, patience } => {
                self.mouth.say(Word::AskTurn { job, limit, pause, patience });
            }
            Output::Signal { child, signal } => self.children.signal(child, signal),
            Output::Kill { child } => self.children.kill(child),
            Output::Spawn { count } => self.turn.events.push(WorkerEvent::Spawn { count }),
            Output::WakeAt(at) => self.wake_at = Some(Instant::now() + at.since(self.now)),
            Output::Notice(notice) => self.notice(notice),
            Output::Stopped => self.phase = Phase::Stopped,
        }
    }

    fn dispatch(&mut self, child: ChildId, jobs: Vec<Job>) {
        count(&self.shared.traffic.dispatched, jobs.len());
        for job in self.children.send_jobs(child, jobs) {
            let bytes = job.message.body.len() + job.message.headers.len();
            let detail = format!("{bytes} bytes are more than a child can be sent");
            let verdict = Verdict::Reject(DeadReason { kind: "oversized".into(), detail });
            let outcome = Outcome { job: job.id, verdict, result: None, publish: Vec::new() };
            self.turn.echoes.push(Input::Finished { child, outcome });
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Received(_) if !self.shared.wants_received.load(std::sync::atomic::Ordering::Relaxed) => {}
            Notice::Retiring { child } => self.turn.events.push(WorkerEvent::Retiring { child }),
            Notice::ChildGone { child, how, expected, running } => {
                let pid = self.children.pid(child);
                self.turn.events.push(WorkerEvent::ChildGone { child, pid, how, expected, running });
            }
            notice => self.turn.events.push(WorkerEvent::Notice(notice)),
        }
    }
}
