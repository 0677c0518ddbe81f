//! Why `pub` or `sub` did not do what was asked, in one line that says what to do about it.

use crate::arguments::with_hint;
use crate::client_options::Server;
use crate::misuse;
use crate::output::{complain, say};
use crate::runtime::block_on;
use crate::runtime::client::{
    self, Config, Connection, Ended, Event, Events, OpenError, RequestError,
};
use std::io;
use std::process::ExitCode;
use whimbrel_core::client::Fault;
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::error::Malformed;
use whimbrel_core::runtime::{Scheme, ServerUrl, TlsOptions};

/// Why it was not done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What was typed is wrong.
    Usage(String),
    /// It was not possible.
    Failed(String),
}

impl Failure {
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

/// Says what went wrong with a `command`.
pub(crate) fn exit_code(command: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            complain(&with_hint(&why, command));
            misuse()
        }
        Err(Failure::Failed(why)) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// Runs the client of a `command`. A thread of its own keeps the connection alive while this one
/// waits for a terminal or a pipe.
pub(crate) fn run(command: &str, client: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    match block_on(client) {
        Ok(result) => exit_code(command, result),
        Err(error) => exit_code(command, Err(cannot_start(error))),
    }
}

/// The system does not give what every client needs.
pub(crate) fn cannot_start(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot start: {error}"))
}

/// Connects.
pub(crate) async fn open(server: &Server, config: Config) -> Result<(Connection, Events), Failure> {
    let Server { url, tls } = server;
    if tls.insecure {
        say("--insecure: whoever is between here and the server can read and change everything");
    }
    // Plain TCP is what everybody means who says nothing of it.
    let shown = url.to_string();
    let address = shown.strip_prefix("tcp://").unwrap_or(&shown);
    let opened = client::open_with(url, tls, config).await;
    opened.map_err(|error| match error {
        OpenError::Misuse(misuse) => Failure::Usage(misuse.to_string()),
        OpenError::Url(error) => Failure::Usage(error.to_string()),
        OpenError::Connect(error) => match blamed(&error, tls) {
            Some(option) => Failure::Usage(format!("{option}: {error}")),
            None => Failure::Failed(format!(
                "cannot connect to {address}: {error}; {}",
                advice_on_transport(&error, url.scheme())
            )),
        },
        OpenError::Ended(ended) => {
            let mut told = match is_nonsense(&ended) && url.scheme() == Scheme::Tcp {
                true => "what answers there speaks no plain MQTT".to_owned(),
                false => in_words(&ended),
            };
            if let Some(advice) = advice_on_other_ports(&ended, url) {
                told.push_str(&advice);
            }
            Failure::Failed(format!("{address}: {told}"))
        }
    })
}

/// The option whose file is not what it should be, if that is the error: it begins with the file,
/// or with the file that cannot be read. Files are read before anybody is connected to.
fn blamed(error: &io::Error, tls: &TlsOptions) -> Option<&'static str> {
    let text = error.to_string();
    let text = text.strip_prefix("cannot read ").unwrap_or(&text);
    let options = [
        ("--ca", tls.ca.as_slice()),
        ("--cert", tls.certificate.as_slice()),
        ("--key", tls.key.as_slice()),
    ];
    let is_named = |file: &String| {
        let rest = text.strip_prefix(file.as_str());
        rest.is_some_and(|rest| matches!(rest.as_bytes().first(), Some(b' ' | b':')))
    };
    let mut options = options.into_iter();
    let found = options.find(|(_, files)| files.iter().any(is_named));
    found.map(|(option, _)| option)
}

/// What to do when there is no transport.
pub(crate) fn advice_on_transport(error: &io::Error, scheme: Scheme) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::ConnectionRefused {
        "no broker listens there: start one with `whimbrel`, or name another with -h and -p"
    } else if kind == io::ErrorKind::TimedOut {
        "nobody answers there: check -h and -p, and firewalls"
    } else if is_hangup(kind) && scheme != Scheme::Tcp {
        "check the port, and what stands before :// in -h"
    } else if kind == io::ErrorKind::Other && has(error, "CaUsedAsEndEntity") {
        "that is an authority's certificate: for a server, make one with CA:FALSE, as in \
         `openssl req -x509 -addext basicConstraints=critical,CA:FALSE …`"
    } else if kind == io::ErrorKind::Other && has(error, "UnknownIssuer") {
        "name its authority with --ca, or the certificate itself if it is its own"
    } else if kind == io::ErrorKind::Other && scheme.has_tls() {
        // Files and certificates. Everything else, such as a name that nobody knows, comes before.
        "check -h, -p and --ca, and --cert if the server asks for one"
    } else {
        "check -h and -p"
    }
}

/// Whether the library for TLS says that it is this.
fn has(error: &io::Error, name: &str) -> bool {
    error.to_string().contains(name)
}

/// Whether the server ended a handshake without a word, as one does that expects something else.
fn is_hangup(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}

/// What to do when plain TCP ends before MQTT has begun: other ports may be meant for others.
fn advice_on_other_ports(ended: &Ended, url: &ServerUrl) -> Option<String> {
    let may_be_another =
        is_nonsense(ended) || matches!(ended, Ended::Transport(_) | Ended::Timeout);
    (url.scheme() == Scheme::Tcp && may_be_another).then(|| {
        let authority = url.authority();
        format!(
            "; if that port is for TLS, write -h mqtts://{authority}, if for WebSocket, \
             -h ws://{authority}"
        )
    })
}

/// Whether what came is no packet at all: the alert of a TLS server, and the answer of an HTTP
/// server, begin with flags that MQTT does not have.
fn is_nonsense(ended: &Ended) -> bool {
    let nonsense = Fault::from(Malformed::FixedHeaderFlags);
    matches!(ended, Ended::Fault(fault) if *fault == nonsense)
}

/// The end of a connection, and what to do about it.
pub(crate) fn in_words(ended: &Ended) -> String {
    let advice = match ended {
        Ended::Refused(ReasonCode::NOT_AUTHORIZED | ReasonCode::BAD_USER_NAME_OR_PASSWORD, _) => {
            "; check -u and the password"
        }
        Ended::Refused(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, _) => "; name another with -i",
        Ended::Refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, _) => "; try another with -V",
        Ended::Server(ReasonCode::SESSION_TAKEN_OVER, _) => {
            "; another client has the same identifier (-i)"
        }
        Ended::Refused(..)
        | Ended::Server(..)
        | Ended::Local
        | Ended::Timeout
        | Ended::Transport(_)
        | Ended::Fault(_) => "",
    };
    ended.to_string() + advice
}

/// Why a request came to nothing: what cannot be asked, or the end of the connection.
pub(crate) async fn explain(error: RequestError, events: &mut Events) -> Failure {
    match error {
        RequestError::Misuse(misuse) => Failure::Failed(misuse.to_string()),
        RequestError::Ended => ended(events).await,
    }
}

/// Waits for the end of the connection, and drops what arrives before it.
pub(crate) async fn ended(events: &mut Events) -> Failure {
    loop {
        match events.next().await {
            Some(Event::Message { .. }) => {}
            Some(Event::Ended(ended)) => return Failure::Failed(in_words(&ended)),
            None => return Failure::failed("the connection ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_twice_is_told_once() {
        let text = |text: &str| Some(text.to_owned());
        for (ended, expected) in [
            (
                Ended::Refused(ReasonCode::BANNED, text("banned")),
                "the server refused the connection: banned",
            ),
            (
                Ended::Refused(
                    ReasonCode::BAD_USER_NAME_OR_PASSWORD,
                    text("refused: bad user name or password"),
                ),
                "the server refused the connection: bad user name or password; check -u and the \
                 password",
            ),
            (
                Ended::Refused(ReasonCode::QUOTA_EXCEEDED, text("quota exceeded: 3 of 3")),
                "the server refused the connection: quota exceeded: 3 of 3",
            ),
            (
                Ended::Server(
                    ReasonCode::QUOTA_EXCEEDED,
                    text("broker limit: quota exceeded (limits.sessions_maximum)"),
                ),
                "the server closed the connection: broker limit: quota exceeded \
                 (limits.sessions_maximum)",
            ),
            (
                Ended::Server(ReasonCode::SESSION_TAKEN_OVER, text("session taken over")),
                "the server closed the connection: session taken over; another client has the \
                 same identifier (-i)",
            ),
            (
                Ended::Server(
                    ReasonCode::NOT_AUTHORIZED,
                    text("the credentials were revoked"),
                ),
                "the server closed the connection: not authorized (the credentials were revoked)",
            ),
            // What a server says does nothing to the terminal.
            (
                Ended::Server(ReasonCode::UNSPECIFIED, text("\u{1b}[2Jhello")),
                "the server closed the connection: unspecified error (\u{FFFD}[2Jhello)",
            ),
        ] {
            assert_eq!(in_words(&ended), expected);
        }
    }

    #[test]
    fn certificates_are_spoken_of_only_where_they_can_matter() {
        // What the system says of a name that nobody knows has no kind of its own.
        let unknown_name = io::Error::from_raw_os_error(99_999);
        let untrusted = io::Error::other("unknown issuer");
        for (error, scheme, expected) in [
            (&unknown_name, Scheme::Tls, false),
            (&untrusted, Scheme::Tls, true),
            (&untrusted, Scheme::Quic, true),
            (&untrusted, Scheme::Ws, false),
        ] {
            let advice = advice_on_transport(error, scheme);
            assert_eq!(advice.contains("--ca"), expected, "{error}: {advice}");
        }
    }
}
