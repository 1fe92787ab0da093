//! From what went wrong to [`BrokerError`], by what the caller should do next.

use std::io::ErrorKind;
use std::time::Duration;

use umbel_amqp::error::{ACCESS_REFUSED, NOT_ALLOWED};
use umbel_amqp::{CloseReason, Error};

use crate::error::BrokerError;

/// Something that a client which knows more ways may survive.
const PIKA: &str = "; amqp+pika:// goes by way of pika, which may know how";

/// A connection could not be opened.
pub(super) fn opening(url: &str, patience: Duration, error: &Error) -> BrokerError {
    match error {
        Error::Refused(detail) if detail.contains("it offers") => {
            BrokerError::Access { url: url.to_owned(), detail: format!("{detail}{PIKA}") }
        }
        Error::Protocol(malformed) => {
            BrokerError::Connection { url: url.to_owned(), detail: format!("{malformed}{PIKA}") }
        }
        Error::Io(io) if is_timeout(io.kind()) => {
            let detail = format!("no answer within {:.1} s", patience.as_secs_f64());
            BrokerError::Connection { url: url.to_owned(), detail }
        }
        error => using(url, error),
    }
}

/// An open connection failed.
pub(super) fn using(url: &str, error: &Error) -> BrokerError {
    let (url, detail) = (url.to_owned(), error.to_string());
    match error {
        Error::Io(io) => match io.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                let detail =
                    format!("its certificate is not trusted: {reason:?}; see ssl_ca_certs and ssl_check_hostname");
                BrokerError::Access { url, detail }
            }
            _ if io.kind() == ErrorKind::UnexpectedEof => {
                BrokerError::Connection { url, detail: "the server closed the connection".to_owned() }
            }
            _ if is_timeout(io.kind()) => {
                BrokerError::Connection { url, detail: "the server does not answer".to_owned() }
            }
            _ => BrokerError::Connection { url, detail },
        },
        Error::Refused(detail) => BrokerError::Access { url, detail: detail.clone() },
        Error::Closed(CloseReason { code: NOT_ALLOWED, text, .. }) => {
            BrokerError::Access { url, detail: format!("the virtual host cannot be used: {text}") }
        }
        Error::Closed(CloseReason { code: ACCESS_REFUSED, text, .. })
        | Error::ChannelClosed { reason: CloseReason { code: ACCESS_REFUSED, text, .. }, .. } => {
            BrokerError::Access { url, detail: text.clone() }
        }
        Error::Blocked(_) => BrokerError::Unavailable { url, detail },
        Error::Unsendable(_) => BrokerError::Protocol { detail },
        Error::Protocol(_) | Error::Closed(_) | Error::ChannelClosed { .. } | Error::Silent(_) => {
            BrokerError::Connection { url, detail }
        }
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
