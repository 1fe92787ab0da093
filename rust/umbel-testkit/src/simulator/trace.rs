//! Inputs and outputs in a few words, for the trace of a history.

use umbel_broker::{Delivery, Disposition, Settlement, Tag};
use umbel_protocol::Timestamp;
use umbel_worker::engine::{Input, Job, Notice, Output};

/// What an engine is told.
pub(super) fn input(input: &Input) -> String {
    match input {
        Input::Delivered { deliveries, next_due } => {
            let due = next_due.map(|due| format!(", next due {}", seconds(due))).unwrap_or_default();
            format!("Delivered [{}]{due}", list(deliveries, |delivery: &Delivery| delivery.tag.0.to_string()))
        }
        Input::Settled { count, lost, entered } => {
            let names = |tags: &[Tag]| list(tags, |tag| tag.0.to_string());
            format!("Settled {count}, lost [{}], entered [{}]", names(lost), names(entered))
        }
        Input::Started { child, jobs } => {
            format!("Started at child {} {}", child.0, list(jobs, |job| job.0.to_string()))
        }
        Input::Returned { child, jobs } => {
            format!("Returned by child {} {}", child.0, list(jobs, |job| job.0.to_string()))
        }
        Input::Finished { child, outcome } => {
            let record = outcome.result.as_ref().map_or("no record", |result| result.state.as_str());
            let (job, verdict, more) = (outcome.job.0, &outcome.verdict, outcome.publish.len());
            format!("Finished at child {} job {job}: {verdict:?}, {record}, {more} follow-ups", child.0)
        }
        Input::Reconnected { lost } => format!("Reconnected, lost [{}]", list(lost, |tag| tag.0.to_string())),
        Input::Tasks(tasks) => format!("Tasks ({})", tasks.len()),
        other => format!("{other:?}"),
    }
}

/// What an engine wants.
pub(super) fn output(output: &Output) -> String {
    match output {
        Output::Settle(batch) => format!("Settle [{}]", list(batch, settlement)),
        Output::Dispatch { child, jobs } => {
            let job = |job: &Job| {
                let properties = &job.message.properties;
                let (task, tag) = (properties.correlation_id.as_deref(), properties.delivery_tag.as_deref());
                format!("{} = {} ({})", job.id.0, task.unwrap_or("?"), tag.unwrap_or("?"))
            };
            format!("Dispatch to child {} [{}]", child.0, list(jobs, job))
        }
        Output::Recall { child, jobs } => {
            format!("Recall from child {} {}", child.0, list(jobs, |job| job.0.to_string()))
        }
        Output::WakeAt(at) => format!("WakeAt {}", seconds(*at)),
        Output::Notice(Notice::Dead { id, reason, .. }) => format!("Notice: {id:?} is dead, {}", reason.kind),
        Output::Notice(notice) => format!("{notice:?}"),
        other => format!("{other:?}"),
    }
}

fn settlement(settlement: &Settlement) -> String {
    let tag = settlement.tag.as_ref().map_or("no tag", |tag| &tag.0);
    let disposition = match &settlement.disposition {
        Disposition::Dead(reason) => format!("Dead({})", reason.kind),
        Disposition::Delay { until } => format!("Delay until {}", seconds(*until)),
        other => format!("{other:?}"),
    };
    let states = list(&settlement.results, |result| result.state.clone());
    format!("{tag}: {disposition} {states} +{}", settlement.publish.len())
}

fn seconds(at: Timestamp) -> String {
    format!("{:.6}", (at.0 - super::world::START) as f64 / 1e6)
}

fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(", ")
}
