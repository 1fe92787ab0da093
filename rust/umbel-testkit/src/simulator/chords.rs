//! Chords: members that count, once each, and what is due once when the last of them has ended.
//!
//! The broker model counts as its contract says. What an engine can do wrong is to let a member end without its chord
//! hearing of it, to tell of an end that was none, or to carry out what a chord's end brings more than once. So when a
//! chord is complete every member must have ended, by what its runs came to and not by what was counted; and in the end
//! every chord has called its body, or its errbacks if a member failed: once, and never both.

use umbel_broker::{Disposition, Outgoing, Settlement, Tag};
use umbel_protocol::{ChordPart, ChordStep, Timestamp};
use umbel_worker::engine::Verdict;

use super::broker::Place;
use super::counts::Happening;
use super::plan::{Act, Kind, Plan};
use super::world::{Event, World};

/// Runs what follows a chord that is complete.
pub(super) const UNLOCK: &str = "celery.chord_unlock";

/// Fails in the place of a task that no child could speak for.
pub(super) const FAIL_DEPENDENTS: &str = "umbel.fail_dependents";

/// What a message is to a chord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A member of its header, or who fails in its place.
    Member { chord: usize, place: usize },
    /// Goes out when all members were counted, and sends the body or the errbacks.
    Unlock { chord: usize },
    /// Its body.
    Body { chord: usize },
    /// Called in place of the body.
    Errback { chord: usize },
}

/// What the broker keeps of a chord, and what came of it.
#[derive(Debug)]
pub(super) struct Chord {
    /// Of each member whether it succeeded, as it was counted.
    counted: Vec<Option<bool>>,
    is_claimed: bool,
    is_over: bool,
    bodies: u32,
    errbacks: u32,
}

impl Chord {
    fn new(size: usize) -> Self {
        Self { counted: vec![None; size], is_claimed: false, is_over: false, bodies: 0, errbacks: 0 }
    }

    /// Counts a member. True if it was the last one, and nobody was told so before.
    fn count(&mut self, place: usize, succeeded: bool) -> bool {
        self.counted[place].get_or_insert(succeeded);
        let is_complete = self.counted.iter().all(Option::is_some);
        is_complete && !std::mem::replace(&mut self.is_claimed, true)
    }
}

/// Whether a message is word of an end that no child could tell of.
pub(super) fn is_obituary(outgoing: &Outgoing) -> bool {
    outgoing.message.headers.contains(FAIL_DEPENDENTS)
}

impl World {
    /// The members of a chord will be published within `span` µs.
    pub(super) fn plan_chord(&mut self, span: i64) {
        let (chord, size) = (self.chords.len(), self.rng.usize(1..=5));
        self.chords.push(Chord::new(size));
        for place in 0..size {
            let wait = self.rng.i64(0..span);
            let mut plan = Plan::random(0, Timestamp(self.now + wait), self.mood, &mut self.rng);
            plan.id = format!("c{chord}.{place}");
            plan.role = Some(Role::Member { chord, place });
            if plan.kind != Kind::UnknownTask {
                // What is no task is nobody's member.
                plan.kind = Kind::Task;
            }
            if plan.act == Act::RequeueOnce && !plan.options().acks_late {
                // As in Celery: its message is gone, and nobody runs it again.
                plan.act = Act::Succeed;
            }
            self.after(wait, Event::Publish(plan.into()));
        }
    }

    /// What the end of a run means for a chord: a part of it, or its body.
    pub(super) fn chord_news(&self, id: String, plan: &Plan, verdict: &Verdict) -> Option<(Plan, ChordStep)> {
        match plan.role? {
            Role::Member { chord, place } => {
                let succeeded = match verdict {
                    Verdict::Success => true,
                    Verdict::Failure | Verdict::Reject(_) | Verdict::Ignored => false,
                    Verdict::Retry | Verdict::Requeue => return None,
                };
                let part = ChordPart {
                    group: chord.to_string(),
                    task_id: place.to_string(),
                    index: i64::try_from(place).ok(),
                    part: vec![u8::from(succeeded)],
                    expires: None,
                };
                let unlock = Plan { task: UNLOCK, role: Some(Role::Unlock { chord }), ..Plan::simple(id, None) };
                Some((unlock, ChordStep::Count(part)))
            }
            Role::Unlock { chord } if !self.chords[chord].is_over => {
                let all_succeeded = self.chords[chord].counted.iter().all(|counted| *counted == Some(true));
                let may_begin = all_succeeded && plan.task == UNLOCK;
                let role = if may_begin { Role::Body { chord } } else { Role::Errback { chord } };
                let next = Plan { role: Some(role), ..Plan::simple(id, None) };
                Some((next, ChordStep::End { group: chord.to_string() }))
            }
            _ => None,
        }
    }

    /// Carries out what a follow-up does to a chord. False if the message waits for other members.
    pub(super) fn step_chord(&mut self, step: &ChordStep) -> bool {
        match step {
            ChordStep::End { group } => {
                let chord = number(group);
                self.chords[chord].is_over = true;
                true
            }
            ChordStep::Count(part) => {
                let (chord, place) = (number(&part.group), number(&part.task_id));
                if self.chords[chord].counted[place].is_some() {
                    self.count(Happening::CountedAgain);
                }
                let is_last = self.chords[chord].count(place, part.part == [1]);
                if is_last {
                    self.note(|| format!("chord {chord} is complete"));
                    self.check_complete(chord);
                }
                is_last
            }
        }
    }

    fn check_complete(&mut self, chord: usize) {
        for place in 0..self.chords[chord].counted.len() {
            let member = Role::Member { chord, place };
            if !self.has_ended(member, true) && !self.has_ended(member, false) {
                self.violated(format!("chord {chord} is complete, and its member {place} has not ended"));
            }
        }
    }

    /// Whether a run of a member, or of who failed in its place, has come to this end.
    fn has_ended(&self, member: Role, with_success: bool) -> bool {
        let runs = self.runs.iter().filter(|run| self.broker.stored[run.message].plan.role == Some(member));
        runs.filter(|run| run.end_heard).any(|run| match run.verdict {
            Some(Verdict::Success) => with_success,
            Some(Verdict::Failure | Verdict::Reject(_) | Verdict::Ignored) => !with_success,
            Some(Verdict::Retry | Verdict::Requeue) | None => false,
        })
    }

    /// A message of a role is published.
    pub(super) fn begin_role(&mut self, role: Role) {
        match role {
            Role::Member { .. } | Role::Unlock { .. } => return,
            Role::Body { chord } => {
                self.count(Happening::ChordDone);
                self.chords[chord].bodies += 1;
                let size = self.chords[chord].counted.len();
                if !(0..size).all(|place| self.has_ended(Role::Member { chord, place }, true)) {
                    self.violated(format!("the body of chord {chord} is sent, and not all members succeeded"));
                }
            }
            Role::Errback { chord } => {
                self.count(Happening::ChordFailed);
                self.chords[chord].errbacks += 1;
                let size = self.chords[chord].counted.len();
                let has_failed = (0..size).any(|place| self.has_ended(Role::Member { chord, place }, false));
                if !has_failed && !self.is_given_up(Role::Unlock { chord }, UNLOCK) {
                    self.violated(format!("the errback of chord {chord} is called, and no member failed"));
                }
            }
        }
        let (Role::Body { chord } | Role::Errback { chord }) = role else { return };
        let Chord { bodies, errbacks, .. } = self.chords[chord];
        if bodies + errbacks > 1 {
            self.violated(format!("chord {chord} ended more than once: {bodies} bodies and {errbacks} errbacks"));
        }
    }

    /// Whether a message of that role and task is a dead letter.
    fn is_given_up(&self, role: Role, task: &str) -> bool {
        let mut messages = self.broker.stored.iter();
        messages.any(|stored| {
            let is_it = stored.plan.role == Some(role) && stored.plan.task == task;
            is_it && matches!(stored.place, Place::Dead { .. })
        })
    }

    /// Somebody fails in the place of a task that ended without a word.
    pub(super) fn publish_obituary(&mut self, outgoing: &Outgoing) {
        let id = outgoing.message.properties.correlation_id.clone().unwrap_or_default();
        let Some(role) = self.plans.get(&id).and_then(|plan| plan.role) else {
            return self.violated(format!("the end of {id} is told, for which nobody waits"));
        };
        self.count(Happening::EndTold);
        let plan = Plan { task: FAIL_DEPENDENTS, act: Act::Fail, role: Some(role), ..Plan::simple(id + ".end", None) };
        self.publish(plan.into());
    }

    /// The end of a member, or of who sends the body, that no child could tell of comes with word of it; no other does.
    pub(super) fn justify_obituary(&self, tag: &Tag, plan: &Plan, settlement: &Settlement) -> Result<(), String> {
        let is_final = matches!(settlement.disposition, Disposition::Ack | Disposition::Dead(_));
        let runs =
            || self.handlings.get(tag).into_iter().flat_map(|handling| &handling.runs).map(|&run| &self.runs[run]);
        let child_spoke = runs().any(|run| run.end_heard);
        let goes_on = !plan.options().acks_late && runs().any(|run| run.start_heard);
        let is_awaited = matches!(plan.role, Some(Role::Member { .. } | Role::Unlock { .. }));
        let is_due = is_awaited && plan.task != FAIL_DEPENDENTS && is_final && !child_spoke && !goes_on;
        match (settlement.publish.iter().any(is_obituary), is_due) {
            (false, true) => Err("its chord does not hear of it".into()),
            (true, false) => Err("its end is told, and it did not end so".into()),
            _ => Ok(()),
        }
    }

    /// At the end every chord has come to its own.
    pub(super) fn check_chords(&mut self) {
        for chord in 0..self.chords.len() {
            let Chord { bodies, errbacks, .. } = self.chords[chord];
            if bodies + errbacks == 0 && !self.may_hang(chord) {
                let counted = self.chords[chord].counted.clone();
                self.violated(format!("chord {chord} never ended: {counted:?}"));
            }
        }
    }

    /// Whether a member was acknowledged early and lost with its worker, or who fails in another's place is a dead letter
    /// as well.
    fn may_hang(&self, chord: usize) -> bool {
        let members = (0..self.chords[chord].counted.len()).map(|place| Role::Member { chord, place });
        let awaited = members.chain([Role::Unlock { chord }]);
        awaited.into_iter().any(|role| self.is_given_up(role, FAIL_DEPENDENTS) || self.was_lost(role))
    }

    fn was_lost(&self, role: Role) -> bool {
        let runs = self.runs.iter().filter(|run| {
            let plan = &self.broker.stored[run.message].plan;
            plan.role == Some(role) && !plan.options().acks_late
        });
        runs.map(|run| &self.workers[run.worker]).any(|worker| !worker.has_settled || worker.lapsed)
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or(0)
}
