//! What a failed request to a cloud means, and the words for it.
//!
//! The crate keeps the HTTP status of most failures in a private type; it is read from the text, which the tests against
//! real servers pin down.

use std::error::Error as _;

use object_store::client::{HttpError, HttpErrorKind};

use crate::storage::meter::Operation;
use crate::{Error, ErrorKind};

/// What a failed request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No such object (or upload).
    Missing,
    /// No such bucket or container.
    NoBucket,
    /// A create-only put found the key taken.
    Taken,
    /// 409: somebody else does something with the same key at the same time. Whether our put landed is not said.
    Conflict,
    /// Credentials were refused or have expired, or allow too little.
    Refused,
    /// No credentials were to be had.
    NoCredentials,
    /// Our clock and the store's differ too much for a signature.
    Clock,
    /// The store is busy and did nothing.
    Busy,
    /// The server failed; what it did is not known.
    Server,
    /// No connection: nothing was sent.
    NotSent,
    /// The connection broke or no answer came in time; what the server did is not known.
    Lost,
    /// The range is outside the object.
    Range,
    /// The bucket lives elsewhere.
    Elsewhere,
    /// Anything else, which asking again will not change.
    Other,
}

impl Fault {
    pub(super) fn of(error: &object_store::Error) -> Self {
        let text = error.to_string();
        let code = between(&text, "<Code>", "</Code>").unwrap_or_default();
        match code {
            "NoSuchBucket" | "ContainerNotFound" => return Self::NoBucket,
            "RequestTimeTooSkewed" => return Self::Clock,
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => return Self::Refused,
            "SlowDown" | "ServerBusy" | "TooManyRequests" => return Self::Busy,
            "RequestTimeout" => return Self::Lost,
            "BlobAlreadyExists" => return Self::Taken,
            _ => {}
        }
        // The machine's own identity service, which the crate asks where nothing else is set.
        let asked_machine = text.contains("//169.254.") || text.contains("//metadata.google.internal");
        if asked_machine && !matches!(status(&text), Some(500..)) {
            return Self::NoCredentials;
        }
        match error {
            object_store::Error::NotFound { .. } => return Self::Missing,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                return Self::Refused;
            }
            object_store::Error::Precondition { .. } => return Self::Taken,
            // Of a 409 the crate says the same as of a 412.
            object_store::Error::AlreadyExists { .. } if status(&text) == Some(409) => return Self::Conflict,
            object_store::Error::AlreadyExists { .. } => return Self::Taken,
            _ => {}
        }
        if let Some(kind) = transport(error) {
            return match kind {
                HttpErrorKind::Connect => Self::NotSent,
                // The crate takes "the server closed the connection without an answer" for "not sent", which it is not.
                _ => Self::Lost,
            };
        }
        match status(&text) {
            Some(404) => Self::Missing,
            Some(401 | 403) => Self::Refused,
            Some(412) => Self::Taken,
            Some(409) => Self::Conflict,
            Some(416) => Self::Range,
            Some(429) => Self::Busy,
            Some(408) => Self::Lost,
            Some(300..=399) => Self::Elsewhere,
            Some(500..=599) => Self::Server,
            Some(_) => Self::Other,
            None if text.contains("Server returned error response") => Self::Server,
            None if text.contains("Received redirect without LOCATION") => Self::Elsewhere,
            None if text.contains("Wanted range starting at") => Self::Range,
            None => Self::Other,
        }
    }

    fn kind(self) -> ErrorKind {
        match self {
            Self::Missing => ErrorKind::NotFound,
            Self::NoBucket | Self::Elsewhere => ErrorKind::Input,
            Self::Refused | Self::NoCredentials | Self::Clock => ErrorKind::Credentials,
            Self::Busy | Self::Server | Self::NotSent | Self::Lost | Self::Conflict => ErrorKind::Retry,
            Self::Taken | Self::Other => ErrorKind::Permanent,
            Self::Range => ErrorKind::Damaged,
        }
    }

    /// The error in plain words: what was to be done, where, why not, and what to do next.
    pub(super) fn error(
        self,
        operation: Operation,
        place: &str,
        key: &str,
        error: &object_store::Error,
    ) -> Error {
        let (why, hint) = match self {
            Self::Missing => ("no such object", None),
            Self::NoBucket => ("the bucket does not exist", Some("create the bucket, or correct its name")),
            Self::Taken => ("the key is taken", None),
            Self::Conflict => ("another request works on the same key", None),
            Self::Refused => (
                "the credentials are refused, have expired or do not allow this",
                Some("renew the credentials, or allow them this operation on these keys"),
            ),
            Self::NoCredentials => (
                "there are no credentials: none in settings, environment or profile, and no machine identity answers",
                Some("set credentials in the configuration, the environment or a profile"),
            ),
            Self::Clock => (
                "the clocks of this machine and of the store differ too much, so signatures are refused",
                Some("set the clock of this machine (for example with chrony)"),
            ),
            Self::Busy => ("the store is busy", None),
            Self::Server => ("the store failed", None),
            Self::NotSent => {
                ("no connection", Some("check the endpoint, the network and that the store is running"))
            }
            Self::Lost => ("the connection was lost or no answer came", None),
            Self::Range => ("the range is outside the object", None),
            Self::Elsewhere => ("the bucket is in another region", Some("set the bucket's region")),
            Self::Other => ("the store answered with an error", None),
        };
        let detail = detail(error);
        let made = Error::new(
            self.kind(),
            format!("cannot {} {key:?} in {place}: {why} ({detail})", operation.name()),
        );
        match hint {
            Some(hint) => made.hint(hint),
            None => made,
        }
    }
}

/// What the server said in short, or all that the crate says.
fn detail(error: &object_store::Error) -> String {
    let text = error.to_string();
    let status = status(&text).map_or(String::new(), |status| format!("{status} "));
    match (between(&text, "<Code>", "</Code>"), between(&text, "<Message>", "</Message>")) {
        (Some(code), Some(message)) => {
            let message = message.lines().next().unwrap_or_default();
            format!("{status}{code}: {message}")
        }
        (Some(code), None) => format!("{status}{code}"),
        _ => innermost(error).unwrap_or(text).lines().map(str::trim).collect::<Vec<_>>().join(" "),
    }
}

/// A transport failure hides its cause at the end of the chain.
fn innermost(error: &object_store::Error) -> Option<String> {
    transport(error)?;
    let mut current = error.source()?;
    while let Some(next) = current.source() {
        current = next;
    }
    Some(current.to_string())
}

fn transport(error: &object_store::Error) -> Option<HttpErrorKind> {
    let mut current: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(error) = current.downcast_ref::<HttpError>() {
            return Some(error.kind());
        }
        current = current.source()?;
    }
}

/// The HTTP status in the crate's text.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    fn http(status: u16, body: &str) -> object_store::Error {
        generic(&format!(
            "Error performing PUT http://h/b/k in 1ms - Server returned non-2xx status code: {status} X: {body}"
        ))
    }

    #[test]
    fn statuses_and_codes_become_what_the_caller_does() {
        for (error, fault) in [
            (http(500, ""), Fault::Server),
            (http(502, "<html>"), Fault::Server),
            (http(503, ""), Fault::Server),
            (http(503, "<Error><Code>SlowDown</Code></Error>"), Fault::Busy),
            (http(429, ""), Fault::Busy),
            (http(400, "<Error><Code>RequestTimeout</Code></Error>"), Fault::Lost),
            (http(400, "<Error><Code>ExpiredToken</Code></Error>"), Fault::Refused),
            (http(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>"), Fault::Clock),
            (http(404, "<Error><Code>NoSuchBucket</Code></Error>"), Fault::NoBucket),
            (http(409, "<Error><Code>BlobAlreadyExists</Code></Error>"), Fault::Taken),
            (http(409, "<Error><Code>LeaseAlreadyPresent</Code></Error>"), Fault::Conflict),
            (http(400, "<Error><Code>InvalidArgument</Code></Error>"), Fault::Other),
            (http(307, ""), Fault::Elsewhere),
            (generic("Server returned error response: <Error><Code>InternalError</Code>"), Fault::Server),
            (generic("something new"), Fault::Other),
        ] {
            assert_eq!(Fault::of(&error), fault, "{error}");
        }
    }

    #[test]
    fn a_machine_without_identity_means_no_credentials() {
        let text = |status| {
            format!(
                "Error performing PUT http://169.254.169.254/latest/api/token in 1ms - Server returned non-2xx status \
                 code: {status} X: "
            )
        };
        assert_eq!(Fault::of(&generic(&text(404))), Fault::NoCredentials);
        assert_eq!(Fault::of(&generic(&text(503))), Fault::Server);
        let error = Fault::NoCredentials.error(Operation::Get, "s3://b", "k", &generic(&text(404)));
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert!(
            error.message().starts_with("cannot get \"k\" in s3://b: there are no credentials"),
            "{error}"
        );
    }
}
