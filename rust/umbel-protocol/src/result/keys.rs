//! Names of the keys that results and chords live under.

/// Key names of one result store, with its prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys with `global_keyprefix` in front (`""` for none). Celery puts an underscore after a prefix that does not
    /// end in one of `:_-.`
    pub fn new(global_keyprefix: &str) -> Self {
        let joined = global_keyprefix.is_empty() || global_keyprefix.ends_with([':', '_', '-', '.']);
        let underscore = if joined { "" } else { "_" };
        Self { prefix: format!("{global_keyprefix}{underscore}") }
    }

    /// Where a task's record is, and the channel it is published on.
    pub fn task(&self, task_id: &str) -> String {
        format!("{}celery-task-meta-{task_id}", self.prefix)
    }

    /// The task id in a key made by [`Keys::task`].
    pub fn task_id<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(self.prefix.as_str())?.strip_prefix("celery-task-meta-")
    }

    /// Where a saved group is.
    pub fn group(&self, group_id: &str) -> String {
        self.of_group(group_id, "")
    }

    /// Number of results a chord waits for.
    pub fn chord_size(&self, group_id: &str) -> String {
        self.of_group(group_id, ".s")
    }

    /// Number of results added by `add_to_chord`.
    pub fn chord_extra(&self, group_id: &str) -> String {
        self.of_group(group_id, ".t")
    }

    /// Results a chord has so far.
    pub fn chord_parts(&self, group_id: &str) -> String {
        self.of_group(group_id, ".j")
    }

    /// Members a chord has counted.
    pub fn chord_counted(&self, group_id: &str) -> String {
        self.of_group(group_id, ".d")
    }

    /// Who dispatches a chord's body.
    pub fn chord_claim(&self, group_id: &str) -> String {
        self.of_group(group_id, ".c")
    }

    /// Counter of backends that count parts.
    pub fn chord_counter(&self, group_id: &str) -> String {
        format!("{}chord-unlock-{group_id}", self.prefix)
    }

    fn of_group(&self, group_id: &str, suffix: &str) -> String {
        format!("{}celery-taskset-meta-{group_id}{suffix}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_underscore_joins_a_prefix_that_does_not_end_in_a_separator() {
        for (prefix, key) in [
            ("", "celery-task-meta-x"),
            ("pre", "pre_celery-task-meta-x"),
            ("pre:", "pre:celery-task-meta-x"),
            ("pre_", "pre_celery-task-meta-x"),
            ("pre-", "pre-celery-task-meta-x"),
            ("pre.", "pre.celery-task-meta-x"),
        ] {
            let keys = Keys::new(prefix);
            assert_eq!(keys.task("x"), key);
            assert_eq!(keys.task_id(key), Some("x"));
        }
        assert_eq!(Keys::default().chord_parts("g"), "celery-taskset-meta-g.j");
    }
}
