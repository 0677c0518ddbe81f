//! Why `pub` or `sub` did not do what was asked, in one line that says what to do about it.

use crate::client_options::Server;
use crate::misuse;
use crate::output::{complain, say};
use crate::runtime::block_on;
use crate::runtime::client::{
    self, Config, Connection, Ended, Event, Events, OpenError, RequestError,
};
use std::io;
use std::process::ExitCode;
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::runtime::ServerUrl;

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

/// Says what went wrong.
pub(crate) fn exit_code(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            complain(&why);
            misuse()
        }
        Err(Failure::Failed(why)) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// Runs a client. A thread of its own keeps the connection alive while this one waits for a
/// terminal or a pipe.
pub(crate) fn run(client: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    match block_on(client) {
        Ok(result) => exit_code(result),
        Err(error) => {
            let why = format!("cannot start: {error}");
            exit_code(Err(Failure::Failed(why)))
        }
    }
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
        OpenError::Connect(error) => Failure::Failed(format!(
            "cannot connect to {address}: {error}; {}",
            advice_on_transport(&error, url)
        )),
        OpenError::Ended(ended) => Failure::Failed(format!("{address}: {}", in_words(&ended))),
    })
}

fn advice_on_transport(error: &io::Error, url: &ServerUrl) -> &'static str {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        "no broker listens there: start one with `whimbrel`, or name another with -h and -p"
    } else if error.kind() == io::ErrorKind::TimedOut {
        "nobody answers there: check -h and -p, and firewalls"
    } else if url.scheme().has_tls() {
        "check -h, -p and --ca, and --cert if the server asks for one"
    } else {
        "check -h and -p"
    }
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
        Ended::Timeout => "; is that an MQTT port without TLS?",
        Ended::Refused(..)
        | Ended::Server(..)
        | Ended::Local
        | Ended::Transport(_)
        | Ended::Fault(_) => "",
    };
    format!("{ended}{advice}")
}

/// Why a request came to nothing: what cannot be asked, or the end of the connection.
pub(crate) async fn explain(error: RequestError, events: &mut Events) -> Failure {
    match error {
        RequestError::Misuse(misuse) => Failure::Failed(misuse.to_string()),
        RequestError::Ended => loop {
            match events.next().await {
                Some(Event::Message { .. }) => {}
                Some(Event::Ended(ended)) => return Failure::Failed(in_words(&ended)),
                None => return Failure::failed("the connection ended"),
            }
        },
    }
}
