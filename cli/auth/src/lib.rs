//! Who may connect to a broker: password files, SCRAM, tokens, a service that is asked.
//!
//! The broker's core asks one question, [`Action::Authenticate`](whimbrel_core::Action), and takes
//! one answer, a [`Verdict`](whimbrel_core::Verdict). This crate answers it for both runtimes: it
//! needs neither of them, only threads of its own for what takes milliseconds or a network. It is
//! not part of core, because core does not hash, draws no random numbers and reads no files.
//!
//! | module | responsible for |
//! |---|---|
//! | `authority` | the order in which everything is asked that can tell |
//! | [`users`] | the password file |
//! | [`hash`] | what is kept of a password, and checking one against it |
//! | `scram` | SCRAM-SHA-256, the server's side |
//! | `passwords` | a password file at work: threads, what is remembered |
//! | `token` | JSON web tokens; left out without the feature `tokens` |
//! | `service` | asking over HTTP; left out without the feature `service` |
//! | `basis` | what a grant rests on, so that it can be asked again |
//! | `cache`, `pool`, `answer` | what was verified a short while ago; bounded threads, and what comes from them |
//! | `secret` | reading files that hold secrets |
//! | `config`, `counters` | what an operator sets, and sees |
//!
//! Three rules hold everywhere. Nothing that is wrong lets anybody in: a file that cannot be read,
//! is empty or has a line that is not right is an error, and a question nobody answers is a
//! refusal. A client learns from its answer, and from the time it takes, nothing about who exists.
//! And what clients show, or what is kept of it, is never written to a log.

#![forbid(unsafe_code)]

mod answer;
mod authority;
mod basis;
mod cache;
mod config;
mod counters;
pub mod hash;
mod passwords;
mod pool;
mod scram;
mod secret;
#[cfg(feature = "service")]
mod service;
#[cfg(not(feature = "service"))]
mod service_absent;
#[cfg(feature = "tokens")]
mod token;
#[cfg(not(feature = "tokens"))]
mod token_absent;
pub mod users;

#[cfg(not(feature = "service"))]
use service_absent as service;
#[cfg(not(feature = "tokens"))]
use token_absent as token;

pub use authority::{Authority, Prepared};
pub use config::{Config, HttpFormat, Problem};
pub use counters::Statistics;
