//! From SQLite's errors to the broker's, in words that say what to do.

use rusqlite::{Error, ErrorCode};

use super::location::Location;
use crate::error::BrokerError;

/// What can go wrong inside a transaction.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite's own words; they still need the URL.
    Sql(Error),
    /// An error of ours, complete.
    Broker(BrokerError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl From<BrokerError> for Fault {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

impl Fault {
    pub(crate) fn at(self, location: &Location) -> BrokerError {
        match self {
            Self::Broker(error) => error,
            Self::Sql(error) => translate(&error, location),
        }
    }
}

fn translate(error: &Error, location: &Location) -> BrokerError {
    let url = location.display_url();
    let said = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let detail = format!(
                "another process has kept the file locked for {:?} ({said}); is one stopped in the middle of a \
                 transaction, or a shell holding one open?",
                location.timeout
            );
            BrokerError::Unavailable { url, detail }
        }
        Some(ErrorCode::DiskFull) => {
            BrokerError::Unavailable { url, detail: format!("the disk is full ({said}): make room") }
        }
        Some(ErrorCode::OutOfMemory) => BrokerError::Unavailable { url, detail: said },
        Some(ErrorCode::TooBig) => BrokerError::Protocol { detail: format!("a message is too big for SQLite: {said}") },
        Some(ErrorCode::NotADatabase) => {
            BrokerError::Config { setting: url, detail: "the file is not a SQLite database: name another".to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            let path = location.path.display();
            let detail = format!(
                "the file is damaged ({said}): stop what uses it, and save what can be read: sqlite3 {path} .recover"
            );
            BrokerError::Config { setting: url, detail }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            let detail = format!("the file or its folder cannot be written ({said}): check owner and permissions");
            BrokerError::Access { url, detail }
        }
        Some(ErrorCode::CannotOpen) => {
            let detail = format!("the file cannot be opened ({said}): check that its folder can be written");
            BrokerError::Access { url, detail }
        }
        // What was in flight is unknown, and the handle may be stale: open the file anew.
        Some(ErrorCode::SystemIoFailure | ErrorCode::OperationAborted | ErrorCode::FileLockingProtocolFailed) => {
            BrokerError::Connection { url, detail: said }
        }
        _ => BrokerError::Protocol { detail: format!("{url}: {said}") },
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;
    use crate::error::NextStep;

    #[test]
    fn each_failure_says_what_to_do_next() {
        let location = Location::parse("sqlite:////srv/q.db", &Default::default(), "broker_url").expect("a location");
        for (code, next, word) in [
            (ffi::SQLITE_FULL, NextStep::Retry, "disk is full"),
            (ffi::SQLITE_BUSY, NextStep::Retry, "locked"),
            (ffi::SQLITE_LOCKED, NextStep::Retry, "locked"),
            (ffi::SQLITE_NOMEM, NextStep::Retry, "memory"),
            (ffi::SQLITE_IOERR_WRITE, NextStep::Reconnect, "I/O"),
            (ffi::SQLITE_IOERR_FSYNC, NextStep::Reconnect, "I/O"),
            (ffi::SQLITE_READONLY, NextStep::GiveUp, "permissions"),
            (ffi::SQLITE_CANTOPEN, NextStep::GiveUp, "folder"),
            (ffi::SQLITE_NOTADB, NextStep::GiveUp, "not a SQLite database"),
            (ffi::SQLITE_CORRUPT, NextStep::GiveUp, ".recover"),
            (ffi::SQLITE_TOOBIG, NextStep::GiveUp, "too big"),
            (ffi::SQLITE_ERROR, NextStep::GiveUp, "/srv/q.db"),
        ] {
            let error = Fault::from(Error::SqliteFailure(ffi::Error::new(code), None)).at(&location);
            assert_eq!(error.next_step(), next, "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
