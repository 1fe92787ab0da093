//! Whether an engine had the right to settle a message as it did.
//!
//! Every settlement that takes effect must be justified by what the engine had been told: acknowledged means run to
//! its end, with the result and the follow-ups in the same step; put back means not started, lost with its child, or
//! asked for; dead means that it deserved it.

use std::collections::BTreeSet;

use umbel_broker::{DeadReason, Disposition, Outgoing, Settlement, Tag};
use umbel_worker::engine::{ChildId, Verdict};

use super::broker::Reply;
use super::checks::Run;
use super::chords::is_obituary;
use super::counts::Happening;
use super::plan::{Kind, Plan};
use super::runtime::MAX_DELIVERIES;
use super::world::World;

impl World {
    /// A settlement reaches the broker.
    pub(super) fn apply(&mut self, worker: usize, settlement: &Settlement, reply: &mut Reply) {
        self.give_up(&settlement.gives_up);
        if let (Some(tag), Disposition::Enter(slots)) = (&settlement.tag, &settlement.disposition) {
            return self.enter(worker, tag, slots, reply);
        }
        match &settlement.tag {
            None => self.check_untagged(worker, settlement),
            Some(tag) if self.broker.holds(tag) => {
                if let Err(reason) = self.justify(worker, tag, settlement) {
                    let text = format!("w{worker}: {:?} for {} is wrong: {reason}", settlement.disposition, tag.0);
                    return self.violated(text);
                }
                self.broker.dispose(tag, &settlement.disposition);
                self.publish_all(&settlement.publish);
                match settlement.disposition {
                    Disposition::Ack | Disposition::Enter(_) => {}
                    Disposition::Delay { .. } => self.count(Happening::Delayed),
                    Disposition::Dead(_) => self.count(Happening::DeadLetter),
                    Disposition::Requeue { .. } => {
                        self.count(Happening::Requeued);
                        self.ring();
                    }
                }
            }
            Some(tag) => reply.lost.push(tag.clone()),
        }
        self.broker.store(&settlement.results);
    }

    fn publish_all(&mut self, messages: &[Outgoing]) {
        for outgoing in messages {
            if is_obituary(outgoing) {
                self.publish_obituary(outgoing);
                continue;
            }
            let id = outgoing.message.properties.correlation_id.clone().unwrap_or_default();
            let run: Option<usize> = id.strip_prefix('f').and_then(|rest| rest.split('.').next()?.parse().ok());
            let (Some(run), Some(plan)) = (run, self.plans.get(&id).cloned()) else {
                return self.violated(format!("{id} was published and is nobody's follow-up"));
            };
            self.runs[run].published += 1;
            if outgoing.chord.as_deref().is_none_or(|step| self.step_chord(step)) {
                self.publish(plan);
            }
        }
    }

    /// Results and follow-ups of an early ack's job, or results of a lost one.
    fn check_untagged(&mut self, worker: usize, settlement: &Settlement) {
        self.publish_all(&settlement.publish);
        for outgoing in &settlement.publish {
            let id = outgoing.message.properties.correlation_id.clone().unwrap_or_default();
            if is_obituary(outgoing) {
                if self.plans.get(&id).is_some_and(|plan| plan.options().acks_late) {
                    return self.violated(format!("w{worker} tells of the end of {id} without settling it"));
                }
                continue;
            }
            let run = id.strip_prefix('f').and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
            let Some(run) = run.map(|run| &self.runs[run]) else { continue };
            let is_late = self.broker.stored[run.message].plan.options().acks_late;
            let twice = run.published > run.follow_ups && !self.workers[worker].was_disconnected;
            if is_late || twice {
                return self.violated(format!("w{worker} published {id} without a settlement of its own"));
            }
        }
    }

    /// Whether what the engine was told allows what it does to a message.
    fn justify(&self, worker: usize, tag: &Tag, settlement: &Settlement) -> Result<(), String> {
        let message = self.broker.of(tag).ok_or("never delivered")?;
        let plan = &self.broker.stored[message].plan;
        self.justify_obituary(tag, plan, settlement)?;
        match &settlement.disposition {
            Disposition::Ack => self.justify_ack(worker, tag, plan, settlement),
            Disposition::Delay { until } => match plan.eta {
                Some(eta) if eta == *until && self.runs_of(tag).next().is_none() => Ok(()),
                // Its turn under the rate limit comes later.
                _ if plan.options().rate_limit.is_some() && self.runs_of(tag).next().is_none() => Ok(()),
                _ => Err("it is not due then".into()),
            },
            Disposition::Requeue { front, failed } => self.justify_requeue(worker, tag, plan, *front, *failed),
            Disposition::Dead(reason) => self.justify_dead(message, tag, reason),
            Disposition::Enter(_) => Err("it ends nothing".into()),
        }
    }

    fn runs_of<'a>(&'a self, tag: &Tag) -> impl Iterator<Item = &'a Run> {
        self.handlings.get(tag).into_iter().flat_map(|handling| &handling.runs).map(|&run| &self.runs[run])
    }

    fn justify_ack(&self, worker: usize, tag: &Tag, plan: &Plan, settlement: &Settlement) -> Result<(), String> {
        let options = plan.options();
        let states: Vec<&str> = settlement.results.iter().map(|result| result.state.as_str()).collect();
        let expects = |state: &str| {
            let stored = options.ignore_result || states.contains(&state);
            if stored { Ok(()) } else { Err(format!("no {state} record comes with it, but {states:?}")) }
        };
        if let Some(run) = self.runs_of(tag).find(|run| run.end_heard) {
            if !options.acks_late {
                return Ok(());
            }
            return match (&run.verdict, &run.state) {
                (Some(Verdict::Failure), _) if run.cancelled_at.is_some() && !options.acks_on_timeout => {
                    Err("it was cancelled at its limit and should run again".into())
                }
                (Some(Verdict::Failure), _) if !options.acks_on_failure && run.cancelled_at.is_none() => {
                    Err("it failed and should be dead".into())
                }
                (Some(Verdict::Requeue | Verdict::Reject(_)), _) => Err("it was rejected".into()),
                (Some(_), _) if settlement.publish.len() != run.follow_ups => {
                    Err("its follow-ups are not with it".into())
                }
                (Some(_), Some(state)) => expects(state),
                (Some(_), None) => Ok(()),
                (None, _) => Err("it has no verdict".into()),
            };
        }
        if !options.acks_late && self.runs_of(tag).any(|run| run.start_heard) {
            return Ok(());
        }
        let handling = self.handlings.get(tag);
        if handling.is_some_and(|handling| handling.deaths > 0) {
            let limit = handling.is_some_and(|handling| handling.limit_passed);
            let fails = !options.acks_late || !options.reject_on_worker_lost || (limit && options.acks_on_timeout);
            if fails && expects("FAILURE").is_ok() {
                return Ok(());
            }
        }
        if let Some(signal) = self.workers[worker].told_revoked.get(&plan.id) {
            let started = self.runs_of(tag).any(|run| run.start_heard);
            // It may have been about to be killed for another reason when it was to be terminated.
            let ended = handling.is_some_and(|handling| signal.is_some() && handling.deaths > 0);
            if !started || ended {
                return expects("REVOKED");
            }
        }
        match plan.expires {
            Some(expires) if self.workers[worker].latest > expires.0 => expects("REVOKED"),
            _ => Err("it has not finished".into()),
        }
    }

    fn justify_requeue(&self, worker: usize, tag: &Tag, plan: &Plan, front: bool, failed: bool) -> Result<(), String> {
        let state = &self.workers[worker];
        let handling = self.handlings.get(tag);
        let deaths = handling.map_or(0, |handling| handling.deaths);
        if let Some(run) = self.runs_of(tag).find(|run| run.end_heard) {
            let again = plan.options().acks_late && !plan.options().acks_on_timeout && run.cancelled_at.is_some();
            return match run.verdict {
                Some(Verdict::Requeue) if plan.options().acks_late && !front && !failed => Ok(()),
                Some(Verdict::Failure) if again && !front && failed => Ok(()),
                _ => Err(format!("it ended with {:?}", run.verdict)),
            };
        }
        let started = self.runs_of(tag).any(|run| run.start_heard);
        let limit = handling.is_some_and(|handling| handling.limit_passed);
        match (started, failed) {
            (true, true) if deaths > 0 => Ok(()),
            (true, true) => Err("no child died of it".into()),
            (true, false) if state.shutdown.is_some() || (limit && deaths > 0) => Ok(()),
            (true, false) if deaths > 0 && self.killed_beside(worker, tag) => Ok(()),
            (true, false) => Err("it runs".into()),
            (false, true) if deaths > 0 => Ok(()),
            (false, true) => Err("it had not started".into()),
            (false, false) if state.shutdown.is_some() || state.has_jumped => Ok(()),
            // More than the window allows may be given back after a while.
            (false, false) if self.now - state.started_at > 2_000_000 => Ok(()),
            (false, false) => Err("there was no need".into()),
        }
    }

    /// Whether the child of a delivery was killed for the limit of another, or because another was revoked.
    fn killed_beside(&self, worker: usize, tag: &Tag) -> bool {
        let children: BTreeSet<ChildId> = self.runs_of(tag).map(|run| run.child).collect();
        let beside = self.runs.iter().filter(|run| run.worker == worker && children.contains(&run.child));
        beside.into_iter().any(|run| {
            self.handlings.get(&run.tag).is_some_and(|handling| handling.limit_passed || handling.terminated)
        })
    }

    fn justify_dead(&self, message: usize, tag: &Tag, reason: &DeadReason) -> Result<(), String> {
        let stored = &self.broker.stored[message];
        let plan = &stored.plan;
        let rejected = self.runs_of(tag).any(|run| {
            run.end_heard
                && matches!(run.verdict, Some(Verdict::Reject(_) | Verdict::Failure))
                && plan.options().acks_late
        });
        let right = match reason.kind.as_str() {
            "undecodable" => matches!(plan.kind, Kind::Garbage | Kind::NoId | Kind::NoTask | Kind::BadEta),
            "unknown-task" => plan.kind == Kind::UnknownTask,
            "not-accepted" => plan.kind == Kind::NotAccepted,
            "oversized" => plan.kind == Kind::Oversized,
            "max-deliveries" => stored.failed >= MAX_DELIVERIES,
            "rejected" => rejected,
            _ => false,
        };
        if right { Ok(()) } else { Err(format!("it is {:?}, {:?}", plan.kind, plan.act)) }
    }
}
