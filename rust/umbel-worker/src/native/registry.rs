//! Handlers by task name.

use std::collections::HashMap;

use umbel_protocol::TaskFacts;
use umbel_protocol::json::Value;
use umbel_protocol::result::ExceptionRecord;

use crate::engine::TaskOptions;

/// What a handler returns.
pub type TaskResult = Result<Value, TaskError>;

type Handler = Box<dyn Fn(&Call<'_>) -> TaskResult + Send + Sync>;

/// One call of a task.
#[derive(Debug)]
pub struct Call<'a> {
    /// What its headers say: id, name, retries, …
    pub headers: &'a TaskFacts,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments, in wire order.
    pub kwargs: Vec<(String, Value)>,
}

impl Call<'_> {
    /// A positional argument; an error for the caller if it is missing.
    pub fn arg(&self, index: usize) -> Result<&Value, TaskError> {
        let missing = || TaskError::new("TypeError", format!("{} misses argument {}", self.headers.task, index + 1));
        self.args.get(index).ok_or_else(missing)
    }

    /// A keyword argument, if given.
    pub fn kwarg(&self, name: &str) -> Option<&Value> {
        self.kwargs.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// A task failed; stored as an exception that Python clients can raise.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskError(pub ExceptionRecord);

impl TaskError {
    /// One of Python's built-in exceptions, by class name.
    pub fn new(class: &str, text: impl Into<String>) -> Self {
        Self(ExceptionRecord::new("builtins", class, vec![text.into().into()]))
    }
}

impl<T: std::fmt::Display> From<T> for TaskError {
    /// A `RuntimeError` with the error's text.
    fn from(error: T) -> Self {
        Self::new("RuntimeError", error.to_string())
    }
}

/// Handlers by task name.
#[derive(Default)]
pub struct Registry {
    handlers: HashMap<String, Handler>,
}

impl Registry {
    /// No handlers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs tasks named `name` with `handler`, which many threads may call at once. The last one of a name counts.
    pub fn register(&mut self, name: &str, handler: impl Fn(&Call<'_>) -> TaskResult + Send + Sync + 'static) {
        self.handlers.insert(name.to_owned(), Box::new(handler));
    }

    /// Runs the handler of a call's task; `None` if there is none.
    pub fn call(&self, call: &Call<'_>) -> Option<TaskResult> {
        self.handlers.get(&call.headers.task).map(|handler| handler(call))
    }

    /// The tasks with Umbel's defaults, for `Worker::set_tasks`.
    pub fn task_options(&self) -> Vec<TaskOptions> {
        self.handlers.keys().map(|name| defaults(name)).collect()
    }
}

fn defaults(name: &str) -> TaskOptions {
    TaskOptions {
        name: name.to_owned(),
        acks_late: true,
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
