//! Who may connect: the order in which everything is asked that can tell.

use crate::answer;
use crate::basis;
use crate::config::{Config, Problem};
use crate::counters::{Counters, Statistics};
use crate::passwords::{Passwords, basis_of};
use crate::pool::{Full, Pool, Turn};
use crate::scram;
use crate::service::{self, Service};
use crate::token::{self, Tokens};
use crate::users::User;
use std::sync::{Arc, PoisonError, RwLock};
use thiserror::Error;
use tracing::debug;
use whimbrel_core::access::identity::Grant;
use whimbrel_core::action::{Credentials, Peer, Verdict};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::runtime::{Anonymous, Authenticator, CertificateUser, Decision, ListenerConfig};

/// Decides who may connect. In this order, and the first that can tell decides:
///
/// 1. A client that names a method of enhanced authentication: SCRAM-SHA-256 with the keys of the
///    password file, or it is refused.
/// 2. A verified certificate, where the listener takes the user from it.
/// 3. A client without user name and password, or any client where nobody is configured who could
///    check them: what the listener says about anonymous clients.
/// 4. A password that has the form of a JSON web token, where keys for tokens are configured.
/// 5. The password file, about users who are in it; about all, where there is no service.
/// 6. The service.
///
/// Whatever goes wrong on the way refuses the client. Clones are the same authority. What holds can
/// be replaced while it is used, see [`replace`](Self::replace).
#[derive(Clone)]
pub struct Authority(Arc<Shared>);

/// What the threads that check passwords share with the shards.
struct Shared {
    standing: RwLock<Arc<Standing>>,
    counters: Counters,
}

/// All that decisions are made from. Never changes; a reload makes another.
struct Standing {
    entrances: Vec<Entrance>,
    passwords: Option<Passwords>,
    tokens: Option<Tokens>,
    service: Option<Service>,
}

/// A configuration that was read and found good, files and all.
pub struct Prepared {
    standing: Standing,
    warnings: Vec<Problem>,
}

/// What a listener says about who may connect by it.
#[derive(Clone, Copy)]
struct Entrance {
    anonymous: Anonymous,
    certificate_user: CertificateUser,
}

impl Entrance {
    const fn of(listener: &ListenerConfig) -> Self {
        Self {
            anonymous: listener.allow_anonymous,
            certificate_user: listener.certificate_user,
        }
    }

    /// The user whom a certificate names here.
    fn user_of<'a>(&self, peer: &'a Peer) -> Option<&'a str> {
        self.certificate_user.of(peer.certificate.as_deref()?)
    }

    /// Whether it has shown a certificate, which has to name the user.
    fn wants_a_name(&self, peer: &Peer) -> bool {
        peer.certificate.is_some() && self.certificate_user != CertificateUser::None
    }
}

impl Prepared {
    /// Reads everything that a configuration names, and changes nothing. The listeners are those
    /// of the server, in their order.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn read(config: &Config, listeners: &[ListenerConfig]) -> Result<Self, Vec<Problem>> {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let passwords = Passwords::prepare(config, &mut problems, &mut warnings);
        let tokens = Tokens::prepare(config, &mut problems, &mut warnings);
        let service = Service::prepare(config, &mut problems, &mut warnings);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            standing: Standing {
                entrances: listeners.iter().map(Entrance::of).collect(),
                passwords,
                tokens,
                service,
            },
            warnings,
        })
    }

    /// What an operator should change, though it can be used.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Whether there is anybody who can check what clients show, certificates apart.
    #[must_use]
    pub const fn asks_somebody(&self) -> bool {
        !self.standing.knows_nobody()
    }

    /// Who is asked, in words, one a line.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let Standing {
            passwords,
            tokens,
            service,
            ..
        } = &self.standing;
        let tokens = tokens.as_ref().map(Tokens::to_string);
        let passwords = passwords.as_ref().map(Passwords::to_string);
        let service = service.as_ref().map(Service::to_string);
        [tokens, passwords, service].into_iter().flatten().collect()
    }
}

/// Why a client is refused. It is told less.
#[derive(Debug, Error)]
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
    #[error("token: {0}")]
    Token(#[from] token::BadToken),
    #[error(transparent)]
    Service(#[from] service::Refused),
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
    const fn reason(&self) -> ReasonCode {
        match self {
            Self::Method => ReasonCode::BAD_AUTHENTICATION_METHOD,
            Self::Password
            | Self::Incomplete
            | Self::Token(_)
            | Self::Service(service::Refused::Denied | service::Refused::NotText) => {
                ReasonCode::BAD_USER_NAME_OR_PASSWORD
            }
            Self::Listener | Self::Certificate | Self::Anonymous | Self::Scram(_) | Self::Names => {
                ReasonCode::NOT_AUTHORIZED
            }
            Self::Busy => ReasonCode::SERVER_BUSY,
            Self::NoRandom | Self::Service(service::Refused::Unavailable(_)) => {
                ReasonCode::SERVER_UNAVAILABLE
            }
        }
    }
}

impl Authority {
    /// Decides by what was prepared.
    #[must_use]
    pub fn new(prepared: Prepared) -> Self {
        Self(Arc::new(Shared {
            standing: RwLock::new(Arc::new(prepared.standing)),
            counters: Counters::default(),
        }))
    }

    /// From now on decides by this. Who is connected by what does not hold any more is found by
    /// `Handle::reconsider` of the runtimes.
    pub fn replace(&self, prepared: Prepared) {
        let standing = self.0.standing.write();
        *standing.unwrap_or_else(PoisonError::into_inner) = Arc::new(prepared.standing);
    }

    /// Decisions so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.0.counters.statistics()
    }

    /// Decides about a client. When that takes longer there is no verdict yet: `answer` gets it,
    /// once, on another thread.
    fn decide(
        &self,
        credentials: &Credentials,
        answer: impl FnOnce(Verdict) + Send + 'static,
    ) -> Option<Verdict> {
        let standing = self.0.standing();
        let work = match standing.decide(credentials, &self.0.counters) {
            Ok(Step::Done(verdict)) => return Some(self.0.tell(credentials, Ok(verdict))),
            Ok(Step::Work(work)) => work,
            Err(refusal) => return Some(self.0.tell(credentials, Err(refusal))),
        };
        let shared = Arc::clone(&self.0);
        let asked = credentials.clone();
        let job = move |turn| {
            let decision = match turn {
                Turn::InTime => shared.conclude(&asked),
                Turn::TooLate => Err(Refusal::Busy),
            };
            answer(shared.tell(&asked, decision));
        };
        match work.pool().submit(job) {
            Ok(()) => None,
            Err(Full) => Some(self.0.tell(credentials, Err(Refusal::Busy))),
        }
    }
}

impl Authenticator for Authority {
    fn authenticate(&self, credentials: Credentials) -> Decision {
        let (sender, answer) = answer::channel();
        match self.decide(&credentials, |verdict| sender.send(verdict)) {
            Some(verdict) => Decision::Now(verdict),
            // No answer is one, too: the thread has crashed.
            None => Decision::later(async {
                let unanswered = Verdict::Refuse(ReasonCode::SERVER_UNAVAILABLE);
                answer.await.unwrap_or(unanswered)
            }),
        }
    }

    fn is_asked_about_everyone(&self) -> bool {
        true
    }

    fn still_holds(&self, peer: &Peer, grant: &Grant) -> bool {
        self.0.standing().still_holds(peer, grant)
    }
}

impl Shared {
    fn standing(&self) -> Arc<Standing> {
        let standing = self.standing.read();
        Arc::clone(&standing.unwrap_or_else(PoisonError::into_inner))
    }

    /// Decides and does the work that it takes, here and now.
    fn conclude(&self, credentials: &Credentials) -> Result<Verdict, Refusal> {
        loop {
            let standing = self.standing();
            let decision = match standing.decide(credentials, &self.counters)? {
                Step::Done(verdict) => Ok(verdict),
                Step::Work(work) => work.run(credentials, &self.counters),
            };
            // What took its time while another file was loaded might be what it came to revoke.
            if Arc::ptr_eq(&standing, &self.standing()) {
                return decision;
            }
        }
    }

    /// Counts a decision and notes it for those who look for the reason. Never what was shown.
    fn tell(&self, credentials: &Credentials, decision: Result<Verdict, Refusal>) -> Verdict {
        let counters = &self.counters;
        match decision {
            Ok(verdict) => {
                if matches!(verdict, Verdict::Accept(_)) {
                    counters.accepted.count();
                }
                verdict
            }
            Err(refusal) => {
                let reason = refusal.reason();
                match reason {
                    ReasonCode::SERVER_BUSY => counters.busy.count(),
                    ReasonCode::SERVER_UNAVAILABLE => counters.unavailable.count(),
                    _ => counters.refused.count(),
                }
                debug!(
                    client_id = credentials.client_id,
                    user = credentials.username,
                    address = credentials.peer.address.map(tracing::field::display),
                    why = %refusal,
                    "credentials refused"
                );
                Verdict::Refuse(reason)
            }
        }
    }
}

/// What to do with a client.
enum Step<'a> {
    /// Nothing more.
    Done(Verdict),
    /// This, on a thread that may be busy.
    Work(Work<'a>),
}

/// What a shard has no time for.
enum Work<'a> {
    /// Hash its password.
    Hash(&'a Passwords),
    /// Ask the service about it.
    Ask(&'a Service),
}

impl Work<'_> {
    const fn pool(&self) -> &Pool {
        match self {
            Self::Hash(passwords) => &passwords.pool,
            Self::Ask(service) => &service.pool,
        }
    }

    fn run(&self, credentials: &Credentials, counters: &Counters) -> Result<Verdict, Refusal> {
        let name = credentials.username.as_deref().unwrap_or_default();
        let password = credentials.password.as_deref().unwrap_or_default();
        match self {
            Self::Hash(passwords) => {
                let user = passwords.check(name, password, counters);
                user.map(accept).ok_or(Refusal::Password)
            }
            Self::Ask(service) => Ok(Verdict::Accept(Grant {
                basis: service.basis(),
                ..service.ask(credentials)?
            })),
        }
    }
}

impl Standing {
    fn decide(&self, credentials: &Credentials, counters: &Counters) -> Result<Step<'_>, Refusal> {
        let peer = &credentials.peer;
        let entrance = self.entrance(peer).ok_or(Refusal::Listener)?;
        let by_certificate = entrance.user_of(peer);
        if let Some(method) = &credentials.method {
            return self
                .scram(method, credentials, by_certificate)
                .map(Step::Done);
        }
        if let Some(user) = by_certificate {
            return Ok(Step::Done(Verdict::Accept(Grant {
                basis: basis::CERTIFICATE,
                ..Grant::to(user)
            })));
        }
        if entrance.wants_a_name(peer) {
            return Err(Refusal::Certificate);
        }
        let shows_nothing = credentials.username.is_none() && credentials.password.is_none();
        // What nobody can check is worth no more than nothing.
        if shows_nothing || self.knows_nobody() {
            return if entrance.anonymous.allows(peer) {
                Ok(Step::Done(Verdict::accept()))
            } else {
                Err(Refusal::Anonymous)
            };
        }
        let password = credentials.password.as_deref();
        let password = password.ok_or(Refusal::Incomplete)?;
        if let Some(tokens) = &self.tokens
            && Tokens::is_token(password)
        {
            let grant = tokens.check(password, &credentials.client_id)?;
            return Ok(Step::Done(Verdict::Accept(grant)));
        }
        let name = credentials.username.as_deref();
        let name = name.ok_or(Refusal::Incomplete)?;
        match (&self.passwords, &self.service) {
            (Some(passwords), None) => Ok(passwords.first_step(name, password, counters)),
            (Some(passwords), Some(_)) if passwords.users.get(name).is_some() => {
                Ok(passwords.first_step(name, password, counters))
            }
            (_, Some(service)) => Ok(Step::Work(Work::Ask(service))),
            (None, None) => Err(Refusal::Password),
        }
    }

    fn entrance(&self, peer: &Peer) -> Option<&Entrance> {
        self.entrances.get(usize::from(peer.listener))
    }

    /// Whether what was granted by this, or by what was there before, holds by this.
    fn still_holds(&self, peer: &Peer, grant: &Grant) -> bool {
        let Some(entrance) = self.entrance(peer) else {
            return false;
        };
        let by_certificate = entrance.user_of(peer);
        let user = grant.user.as_deref();
        if by_certificate.is_some() && by_certificate != user {
            return false;
        }
        match (grant.basis, user) {
            (basis::CERTIFICATE, _) => by_certificate.is_some(),
            (basis::NOTHING, _) => !entrance.wants_a_name(peer) && entrance.anonymous.allows(peer),
            (_, None) => false,
            (basis, Some(user)) => {
                let named = self.passwords.as_ref().and_then(|all| all.basis(user));
                let by_service = |service: &Service| service.basis() == basis;
                let by_token = |tokens: &Tokens| tokens.stand_behind(basis);
                match named {
                    Some(of_user) if of_user == basis => true,
                    None if self.service.as_ref().is_some_and(by_service) => true,
                    Some(_) | None => self.tokens.as_ref().is_some_and(by_token),
                }
            }
        }
    }

    /// Whether there is nobody who could check what a client shows.
    const fn knows_nobody(&self) -> bool {
        self.passwords.is_none() && self.tokens.is_none() && self.service.is_none()
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
}

impl Passwords {
    /// What to do about a user name with a password.
    fn first_step(&self, name: &str, password: &[u8], counters: &Counters) -> Step<'_> {
        match self.remembers(name, password) {
            Some(user) => {
                counters.remembered.count();
                Step::Done(accept(user))
            }
            None => Step::Work(Work::Hash(self)),
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
        basis: basis_of(user),
        ..Grant::to(&*user.name)
    }
}

fn accept(user: &User) -> Verdict {
    Verdict::Accept(grant(user))
}
