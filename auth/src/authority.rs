//! Who may connect: the order in which everything is asked that can tell.

use crate::config::{Config, Entrance, Problem};
use crate::counters::{Counters, Statistics};
use crate::passwords::Passwords;
use crate::pool::Turn;
use crate::scram;
use crate::users::User;
use std::sync::{Arc, PoisonError, RwLock};
use thiserror::Error;
use tracing::debug;
use whimbrel_core::access::identity::Grant;
use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::codec::reason::ReasonCode;

/// Decides who may connect. In this order, and the first that can tell decides:
///
/// 1. A client that names a method of enhanced authentication: SCRAM-SHA-256 with the keys of the
///    password file, or it is refused.
/// 2. A verified certificate, where the [`Entrance`] takes the user from it.
/// 3. A client without user name and password, or any client where nobody is configured who could
///    check them: what the entrance says about anonymous clients.
/// 4. The password file.
///
/// Whatever goes wrong on the way refuses the client. What holds can be replaced while it is used,
/// see [`replace`](Self::replace).
pub struct Authority {
    standing: RwLock<Arc<Standing>>,
    counters: Arc<Counters>,
}

/// All that decisions are made from. Never changes; a reload makes another.
struct Standing {
    entrances: Vec<Entrance>,
    passwords: Option<Passwords>,
}

/// A configuration that was read and found good, files and all.
pub struct Prepared {
    standing: Standing,
    warnings: Vec<Problem>,
}

impl Prepared {
    /// Reads everything that a configuration names. Changes nothing. `entrances` are those of the
    /// listeners, in their order.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn read(config: &Config, entrances: Vec<Entrance>) -> Result<Self, Vec<Problem>> {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let passwords = Passwords::prepare(config, &mut problems, &mut warnings);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            standing: Standing {
                entrances,
                passwords,
            },
            warnings,
        })
    }

    /// What an operator should change, though it can be used.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

/// Why a client is refused. It is told less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum Refusal {
    #[error("it came by a listener that is not known here")]
    Listener,
    #[error("no such method of enhanced authentication is offered")]
    Method,
    #[error("its certificate does not have the part that names the user")]
    Certificate,
    #[error("it has shown nothing, and anonymous clients may not connect here")]
    Anonymous,
    #[error("it has sent no password, or no user name")]
    Incomplete,
    #[error("unknown user or wrong password")]
    Password,
    #[error("SCRAM: {0}")]
    Scram(#[from] scram::Failure),
    #[error("its user name, its certificate and its SCRAM messages name different users")]
    Names,
    #[error("too many clients are waiting for their password to be checked")]
    Busy,
    #[error("the system gives no random bytes")]
    NoRandom,
}

impl Refusal {
    const fn reason(self) -> ReasonCode {
        match self {
            Self::Method => ReasonCode::BAD_AUTHENTICATION_METHOD,
            Self::Password | Self::Incomplete => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            Self::Listener | Self::Certificate | Self::Anonymous | Self::Scram(_) | Self::Names => {
                ReasonCode::NOT_AUTHORIZED
            }
            Self::Busy => ReasonCode::SERVER_BUSY,
            Self::NoRandom => ReasonCode::SERVER_UNAVAILABLE,
        }
    }
}

impl Authority {
    /// Decides by what was prepared.
    #[must_use]
    pub fn new(prepared: Prepared) -> Self {
        Self {
            standing: RwLock::new(Arc::new(prepared.standing)),
            counters: Arc::default(),
        }
    }

    /// From now on decides by this. Clients that are being decided on are decided on as before.
    pub fn replace(&self, prepared: Prepared) {
        let mut standing = self
            .standing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *standing = Arc::new(prepared.standing);
    }

    /// Decisions so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.counters.statistics()
    }

    /// Decides about a client. When that takes longer there is no verdict yet: `answer` gets it,
    /// once, on another thread, or is dropped unanswered, which refuses the client.
    pub fn authenticate(
        &self,
        credentials: Credentials,
        answer: impl FnOnce(Verdict) + Send + 'static,
    ) -> Option<Verdict> {
        let standing = {
            let standing = self.standing.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&standing)
        };
        match standing.decide(&credentials, &self.counters) {
            Ok(Step::Done(verdict)) => Some(self.counters.tell(&credentials, Ok(verdict))),
            Ok(Step::CheckPassword) => {
                standing.check_password(credentials, Arc::clone(&self.counters), answer)
            }
            Err(refusal) => Some(self.counters.tell(&credentials, Err(refusal))),
        }
    }
}

/// What to do with a client.
enum Step {
    /// Nothing more.
    Done(Verdict),
    /// Hash its password, on another thread.
    CheckPassword,
}

impl Standing {
    fn decide(&self, credentials: &Credentials, counters: &Counters) -> Result<Step, Refusal> {
        let peer = &credentials.peer;
        let entrance = self.entrances.get(usize::from(peer.listener));
        let entrance = entrance.ok_or(Refusal::Listener)?;
        let by_certificate = match &peer.certificate {
            None => None,
            Some(certificate) => entrance.certificate_user.of(certificate),
        };
        if let Some(method) = &credentials.method {
            return self
                .scram(method, credentials, by_certificate)
                .map(Step::Done);
        }
        if let Some(user) = by_certificate {
            return Ok(Step::Done(Verdict::Accept(Grant::to(user))));
        }
        if peer.certificate.is_some() && entrance.certificate_user != Default::default() {
            return Err(Refusal::Certificate);
        }
        let shows_nothing = credentials.username.is_none() && credentials.password.is_none();
        // What nobody can check is worth no more than nothing.
        if shows_nothing || self.passwords.is_none() {
            return if entrance.anonymous.allows(peer) {
                Ok(Step::Done(Verdict::accept()))
            } else {
                Err(Refusal::Anonymous)
            };
        }
        let (Some(name), Some(password)) = (&credentials.username, &credentials.password) else {
            return Err(Refusal::Incomplete);
        };
        let passwords = self.passwords.as_ref().ok_or(Refusal::Password)?;
        Ok(match passwords.remembers(name, password) {
            Some(user) => {
                counters.remembered.count();
                Step::Done(accept(user))
            }
            None => Step::CheckPassword,
        })
    }

    /// One step of an enhanced authentication.
    fn scram(
        &self,
        method: &str,
        credentials: &Credentials,
        by_certificate: Option<&str>,
    ) -> Result<Verdict, Refusal> {
        let passwords = match &self.passwords {
            Some(passwords) if method == scram::METHOD => passwords,
            Some(_) | None => return Err(Refusal::Method),
        };
        let data = credentials.data.as_deref().unwrap_or_default();
        let Some(state) = &credentials.state else {
            let nonce = scram::new_nonce().map_err(|_| Refusal::NoRandom)?;
            let first = scram::first(data, &passwords.users, &passwords.key, nonce)?;
            let named = [credentials.username.as_deref(), by_certificate];
            if named.into_iter().flatten().any(|name| name != first.user) {
                return Err(Refusal::Names);
            }
            return Ok(Verdict::Continue {
                data: first.data,
                state: first.exchange.to_bytes(),
            });
        };
        let exchange = scram::Exchange::from_bytes(state).ok_or(scram::Failure::Malformed)?;
        let (name, data) = scram::last(data, &exchange, &passwords.users)?;
        let user = passwords.users.get(&name).ok_or(scram::Failure::Proof)?;
        Ok(Verdict::Accept(Grant {
            data: Some(data),
            ..grant(user)
        }))
    }

    fn check_password(
        self: Arc<Self>,
        credentials: Credentials,
        counters: Arc<Counters>,
        answer: impl FnOnce(Verdict) + Send + 'static,
    ) -> Option<Verdict> {
        let standing = Arc::clone(&self);
        let asked = credentials.clone();
        let all = Arc::clone(&counters);
        let work = move |turn| {
            let name = asked.username.as_deref().unwrap_or_default();
            let password = asked.password.as_deref().unwrap_or_default();
            let user = match (turn, &standing.passwords) {
                (Turn::TooLate, _) => Err(Refusal::Busy),
                (Turn::InTime, None) => Err(Refusal::Password),
                (Turn::InTime, Some(passwords)) => {
                    let user = passwords.check(name, password, &all);
                    user.map(accept).ok_or(Refusal::Password)
                }
            };
            answer(all.tell(&asked, user));
        };
        let queued = self
            .passwords
            .as_ref()
            .map(|passwords| passwords.pool.submit(work));
        match queued {
            Some(Ok(())) => None,
            Some(Err(_)) | None => Some(counters.tell(&credentials, Err(Refusal::Busy))),
        }
    }
}

impl Counters {
    /// Counts a decision and notes it for those who look for the reason. Never what was shown.
    fn tell(&self, credentials: &Credentials, decision: Result<Verdict, Refusal>) -> Verdict {
        match decision {
            Ok(verdict) => {
                if matches!(verdict, Verdict::Accept(_)) {
                    self.accepted.count();
                }
                verdict
            }
            Err(refusal) => {
                match refusal {
                    Refusal::Busy => self.busy.count(),
                    Refusal::NoRandom => self.unavailable.count(),
                    _ => self.refused.count(),
                }
                debug!(
                    client_id = ?credentials.client_id,
                    user = ?credentials.username,
                    address = ?credentials.peer.address,
                    why = %refusal,
                    "credentials refused"
                );
                Verdict::Refuse(refusal.reason())
            }
        }
    }
}

fn grant(user: &User) -> Grant {
    Grant {
        groups: user
            .groups
            .iter()
            .map(|group| String::from(&**group))
            .collect(),
        ..Grant::to(&*user.name)
    }
}

fn accept(user: &User) -> Verdict {
    Verdict::Accept(grant(user))
}
