//! Concurrency limits: how many tasks of a name, a key or a queue run at a time, in all workers together.
//!
//! The slots are in the broker. When a child could run a limited job, the broker is asked for them in the step in which it
//! is told of what has ended; a job that gets none is not this worker's any more: its message waits in the broker, and comes
//! back to its queue when a slot is free. Slots are given up in the step that settles their message, whatever its end.

use std::collections::HashMap;

use umbel_broker::{GivenUp, Slot, Tag};
use umbel_protocol::{Limits, Message, json};

use super::Engine;
use super::intake::Facts;
use super::job::JobId;
use super::ledger::{Asked, Claim, Place, Taken};

/// The header that tells the key of a call.
const HEADER: &str = "umbel_concurrency_key";

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The broker is not asked yet.
    Outside,
    /// It is asked.
    Asking,
    /// The slots are taken.
    Inside,
}

/// The slots a job needs.
#[derive(Debug)]
pub(super) struct Pass {
    slots: Vec<Slot>,
    /// The tag under which they are taken.
    holder: Tag,
    pub(super) stage: Stage,
}

impl Pass {
    /// What a delivery needs; `None` if it is not limited.
    pub(super) fn of(taken: &Taken, facts: &Facts, queues: &HashMap<String, u32>) -> Option<Box<Self>> {
        let options = &facts.task.options;
        let by_queue = if queues.is_empty() { None } else { queues.get(&*taken.queue) };
        let by_queue = by_queue.map(|limit| Slot { name: format!("queue:{}", taken.queue), limit: *limit });
        let by_task = options.concurrency_limit.map(|limit| {
            let key = if options.concurrency_keyed { key_of(&taken.message) } else { None };
            let name = match key {
                Some(key) => format!("task:{}:{key}", options.name),
                None => format!("task:{}", options.name),
            };
            Slot { name, limit }
        });
        let slots: Vec<Slot> = by_task.into_iter().chain(by_queue).collect();
        (!slots.is_empty()).then(|| Box::new(Self { slots, holder: taken.tag.clone(), stage: Stage::Outside }))
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// As a settlement gives them up. Also those that were not taken: the job may have been woken because one was free,
    /// which is somebody else's then.
    pub(super) fn given_up(&self) -> impl Iterator<Item = GivenUp> + '_ {
        let holder = &self.holder;
        self.slots.iter().map(move |slot| GivenUp::Slot { slot: slot.clone(), holder: holder.clone() })
    }
}

fn key_of(message: &Message) -> Option<String> {
    let members = json::members(message.headers.as_bytes(), &Limits::default()).ok()?;
    let raw = members.iter().find(|member| member.name == HEADER)?.raw;
    json::text_of(raw).map(|text| text.to_string())
}

impl Engine {
    /// Whether a waiting job has its slots, or needs none. If not, the broker is asked, and the job comes back with them.
    pub(super) fn has_its_slots(&mut self, job: JobId) -> bool {
        let Some(held) = self.ledger.get_mut(job) else { return false };
        match held.pass.as_deref_mut() {
            None | Some(Pass { stage: Stage::Inside, .. }) => true,
            Some(pass) => {
                pass.stage = Stage::Asking;
                self.ledger.enter(job);
                false
            }
        }
    }

    /// The broker has answered. Jobs with slots are next; the others have left.
    pub(super) fn answered(&mut self, asked: Vec<Asked>) {
        let mut inside = Vec::new();
        for Asked { job, entered } in asked {
            let Some(held) = self.ledger.get_mut(job).filter(|held| held.place == Place::Waiting) else { continue };
            if held.claim == Claim::Lost {
                self.ledger.drop_lost(job);
            } else if entered {
                held.pass.iter_mut().for_each(|pass| pass.stage = Stage::Inside);
                inside.push(job);
            } else {
                self.totals.delayed += 1;
                self.ledger.leave(job);
                self.fetcher.freed();
            }
        }
        inside.into_iter().rev().for_each(|job| self.waiting.push_front(job));
    }

    /// Jobs for which the broker is being asked, in the order they were taken.
    pub(super) fn asking(&self) -> Vec<JobId> {
        self.ledger.find(|held| held.pass.as_ref().is_some_and(|pass| pass.stage == Stage::Asking))
    }
}
