//! Which acknowledgement an end deserves (`docs/celery-parity.md` lists what differs from Celery).

use umbel_broker::{DeadReason, Disposition};

use super::config::TaskOptions;
use super::job::Verdict;

/// Back to the front of its queue through no fault of its own.
pub(super) const RETURNED: Disposition = Disposition::Requeue { front: true, failed: false };

/// The end of a job that ran to its end. With early acks the message was done with when it started; one that was
/// rejected before that (its body could not be decoded) is still there to be kept.
pub(super) fn after_run(verdict: Verdict, started: bool, options: &TaskOptions) -> Disposition {
    let rejected_unstarted = matches!(verdict, Verdict::Reject(_)) && !started;
    if !options.acks_late && !rejected_unstarted {
        return Disposition::Ack;
    }
    match verdict {
        Verdict::Success | Verdict::Retry | Verdict::Ignored => Disposition::Ack,
        Verdict::Failure if options.acks_on_failure => Disposition::Ack,
        Verdict::Failure => Disposition::Dead(DeadReason {
            kind: "rejected".into(),
            detail: format!("task {} failed, and task_acks_on_failure is off for it", options.name),
        }),
        Verdict::Requeue => Disposition::Requeue { front: false, failed: false },
        Verdict::Reject(reason) => Disposition::Dead(reason),
    }
}

/// How a child ended under a job that had started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Killed for this job's hard time limit.
    TimeLimit,
    /// Sent a signal because this job was revoked.
    Revoked,
    /// Killed by us for another reason: shutdown, or the time limit of a job beside it.
    Ours,
    /// It died.
    Died,
}

/// The end of a job whose child is gone: `Some` puts it back into its queue, `None` makes it fail.
pub(super) fn after_loss(loss: Loss, acknowledged: bool, options: &TaskOptions) -> Option<Disposition> {
    if acknowledged || !options.acks_late {
        return None;
    }
    match loss {
        Loss::Revoked => None,
        Loss::TimeLimit if options.acks_on_timeout => None,
        Loss::TimeLimit => Some(Disposition::Requeue { front: false, failed: true }),
        Loss::Ours => Some(RETURNED),
        Loss::Died if options.reject_on_worker_lost => Some(Disposition::Requeue { front: true, failed: true }),
        Loss::Died => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(acks_late: bool) -> TaskOptions {
        TaskOptions {
            name: "add".into(),
            acks_late,
            acks_on_failure: true,
            acks_on_timeout: true,
            reject_on_worker_lost: true,
            ignore_result: false,
            store_errors_even_if_ignored: false,
            time_limit: None,
            soft_time_limit: None,
            rate_limit: None,
            rate_limit_shared: false,
            concurrency_limit: None,
            concurrency_keyed: false,
            batch: None,
            fair: false,
            unique: false,
            tells_failures: false,
        }
    }

    fn rejected() -> Verdict {
        Verdict::Reject(DeadReason { kind: "rejected".into(), detail: "no".into() })
    }

    #[test]
    fn early_acks_are_final() {
        for verdict in [Verdict::Success, Verdict::Failure, Verdict::Retry, Verdict::Requeue, rejected()] {
            assert_eq!(after_run(verdict, true, &options(false)), Disposition::Ack);
        }
        for loss in [Loss::TimeLimit, Loss::Revoked, Loss::Ours, Loss::Died] {
            assert_eq!(after_loss(loss, false, &options(false)), None);
            assert_eq!(after_loss(loss, true, &options(true)), None);
        }
    }

    #[test]
    fn what_was_rejected_before_it_started_is_kept_even_with_early_acks() {
        assert!(matches!(after_run(rejected(), false, &options(false)), Disposition::Dead(_)));
        assert_eq!(after_run(Verdict::Success, false, &options(false)), Disposition::Ack);
    }

    #[test]
    fn late_acks_follow_the_verdict() {
        let back = Disposition::Requeue { front: false, failed: false };
        for (verdict, expected) in [
            (Verdict::Success, Disposition::Ack),
            (Verdict::Failure, Disposition::Ack),
            (Verdict::Retry, Disposition::Ack),
            (Verdict::Ignored, Disposition::Ack),
            (Verdict::Requeue, back),
        ] {
            assert_eq!(after_run(verdict.clone(), true, &options(true)), expected, "{verdict:?}");
        }
        assert!(
            matches!(after_run(rejected(), true, &options(true)), Disposition::Dead(reason) if reason.detail == "no")
        );
        let strict = TaskOptions { acks_on_failure: false, ..options(true) };
        assert!(
            matches!(after_run(Verdict::Failure, true, &strict), Disposition::Dead(reason) if reason.kind == "rejected")
        );
    }

    #[test]
    fn lost_children_follow_the_options() {
        let failed = |front| Some(Disposition::Requeue { front, failed: true });
        let late = options(true);
        assert_eq!(after_loss(Loss::TimeLimit, false, &late), None);
        assert_eq!(after_loss(Loss::Revoked, false, &late), None);
        assert_eq!(after_loss(Loss::Ours, false, &late), Some(RETURNED));
        assert_eq!(after_loss(Loss::Died, false, &late), failed(true));
        let timeout = TaskOptions { acks_on_timeout: false, ..options(true) };
        assert_eq!(after_loss(Loss::TimeLimit, false, &timeout), failed(false));
        let keeps = TaskOptions { reject_on_worker_lost: false, ..options(true) };
        assert_eq!(after_loss(Loss::Died, false, &keeps), None);
    }
}
