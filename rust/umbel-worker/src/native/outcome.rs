//! One job, from its message to its outcome.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use umbel_broker::{Clock, DeadReason};
use umbel_protocol::body::{self, BodyText, Embed};
use umbel_protocol::content::Serializer;
use umbel_protocol::json::{self, Value};
use umbel_protocol::result::{Record, states};
use umbel_protocol::{Limits, ReadError, ResultWrite, TaskFacts, Zone, iso8601};

use super::registry::{Call, Registry, TaskError, TaskResult};
use crate::engine::{Job, Outcome, Verdict};

/// Runs jobs with native handlers.
pub struct Runner {
    /// The handlers.
    pub registry: Registry,
    /// Life of result records; `None` keeps them for ever.
    pub result_expires: Option<Duration>,
    /// Where `date_done` comes from.
    pub clock: Arc<dyn Clock>,
}

impl Runner {
    /// Runs one job. A message that cannot be decoded, names an unknown task or asks for follow-ups, which native
    /// handlers do not send, is rejected: it goes to the dead letters.
    pub fn run(&self, job: &Job) -> Outcome {
        let ended = read(job).and_then(|(args, kwargs)| {
            let result = self.call(&Call { headers: &job.facts, args, kwargs })?;
            Ok(self.ended(job, &job.facts, result))
        });
        ended.unwrap_or_else(|reason| outcome(job, Verdict::Reject(reason), None))
    }

    fn call(&self, call: &Call<'_>) -> Result<TaskResult, DeadReason> {
        let called = catch_unwind(AssertUnwindSafe(|| self.registry.call(call)));
        match called {
            Ok(Some(result)) => Ok(result),
            Ok(None) => Err(dead("unknown-task", format!("no native handler is registered for {}", call.headers.task))),
            Err(_) => Ok(Err(TaskError::new("RuntimeError", format!("the handler of {} panicked", call.headers.task)))),
        }
    }

    fn ended(&self, job: &Job, headers: &TaskFacts, result: TaskResult) -> Outcome {
        let (verdict, state, value) = match result {
            Ok(value) => (Verdict::Success, states::SUCCESS, value),
            Err(TaskError(exception)) => (Verdict::Failure, states::FAILURE, exception.to_value()),
        };
        if headers.ignore_result == Some(true) {
            return outcome(job, verdict, None);
        }
        let mut record = Record::new(headers.id.as_str(), state, value);
        record.date_done = Some(iso8601::format(self.clock.now(), &Zone::default()));
        record.group_id.clone_from(&headers.group);
        record.parent_id.clone_from(&headers.parent_id);
        // JSON encodes every value.
        let record = record.encode(Serializer::Json).unwrap_or_default();
        let (task_id, expires) = (headers.id.clone(), self.result_expires);
        outcome(job, verdict, Some(ResultWrite { task_id, state: state.into(), record, expires, reply_to: None }))
    }
}

fn outcome(job: &Job, verdict: Verdict, result: Option<ResultWrite>) -> Outcome {
    Outcome { job: job.id, verdict, result, publish: Vec::new() }
}

fn dead(kind: &str, detail: impl Into<String>) -> DeadReason {
    DeadReason { kind: kind.into(), detail: detail.into() }
}

type Arguments = (Vec<Value>, Vec<(String, Value)>);

fn read(job: &Job) -> Result<Arguments, DeadReason> {
    let (message, headers) = (&job.message, &job.facts);
    let limits = Limits::default();
    let unpacked = body::unpack(&message.body, headers.compression.as_deref(), &limits).map_err(undecodable)?;
    let text = body::json_text(&message.content_type, unpacked, &limits).map_err(undecodable)?;
    let parts = BodyText::split(&text, &limits).map_err(|error| undecodable(error.into()))?;
    if asks_for_more(&parts.embed) {
        let detail = format!("{} has callbacks, a chain or a chord, which need a Python worker", headers.task);
        return Err(dead("unsupported", detail));
    }
    let value = |text: &str| json::parse(text.as_bytes(), &limits).map_err(|error| undecodable(error.into()));
    match (value(parts.args)?, value(parts.kwargs)?) {
        (Value::Array(args), Value::Object(kwargs)) => Ok((args, kwargs)),
        _ => Err(dead("undecodable", "body: args is no list or kwargs no object")),
    }
}

fn asks_for_more(embed: &Embed<'_>) -> bool {
    let asks = |part: Option<&str>| part.is_some_and(|text| !matches!(text, "null" | "[]"));
    [embed.callbacks, embed.errbacks, embed.chain, embed.chord].into_iter().any(asks)
}

fn undecodable(error: ReadError) -> DeadReason {
    dead("undecodable", error.to_string())
}
