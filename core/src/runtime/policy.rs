//! Who may connect: the seam between a shard and whoever decides.

use super::config::{Anonymous, ListenerConfig};
use super::tenancy::TenantSource;
use crate::access::identity::Grant;
use crate::access::rule::{Effect, Operations, Pattern, Rule};
use crate::action::{Credentials, Peer, Verdict};
use crate::codec::reason::ReasonCode;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::pin::Pin;

/// Decides who may connect. Asked for every CONNECT that the listener's rule on anonymous clients
/// lets through, and for every AUTH.
///
/// `whimbrel-auth` has the one that the program uses, with password files and more. How a program
/// brings its own is shown at the runtimes' `Server::authenticator`.
pub trait Authenticator: Send + Sync + 'static {
    /// Decides, or says that it will. Runs on the thread of the shard, so it must not block, and a
    /// panic is the end of the broker; what takes time goes into [`Decision::Later`]. The client is
    /// not read meanwhile, and is cut when the time for CONNECT is over.
    fn authenticate(&self, credentials: Credentials) -> Decision;

    /// Whether it is asked about every client, and heeds the listeners' rules on anonymous clients
    /// itself. Default: no.
    fn is_asked_about_everyone(&self) -> bool {
        false
    }

    /// Whether what it once granted to this peer holds by what it knows now. Asked about everybody
    /// who is connected when the runtime's `Handle::reconsider` is called, and about a verdict of
    /// [`Decision::Later`] when that has come: what was decided by must be replaced before, so that
    /// nobody gets in by what holds no longer. [`Grant::basis`] has what it said about that.
    /// Default: yes.
    fn still_holds(&self, _: &Peer, _: &Grant) -> bool {
        true
    }
}

/// What an [`Authenticator`] says.
pub enum Decision {
    /// The answer is known.
    Now(Verdict),
    /// The answer will be what this future returns. It runs on the shard's own thread, as a
    /// task, and so must not block. Sockets and timers of another runtime have to be awaited in a
    /// task there.
    Later(Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

impl Decision {
    /// The answer will be what this future returns; see [`Decision::Later`].
    pub fn later(verdict: impl Future<Output = Verdict> + Send + 'static) -> Self {
        Self::Later(Box::pin(verdict))
    }
}

/// The listener that in-process links are counted to.
pub const IN_PROCESS: u16 = Peer::IN_PROCESS;

/// Something to be asked about a peer.
type Question = dyn Fn(&Peer) -> bool + Send + Sync;

/// The rules on anonymous clients and on tenants, listener by listener, and the authenticator
/// behind them.
#[derive(Clone)]
pub struct Policy {
    anonymous: Vec<Anonymous>,
    tenants: Vec<Arc<TenantSource>>,
    authenticator: Option<Arc<dyn Authenticator>>,
    is_certificate_good: Option<Arc<Question>>,
}

impl Policy {
    /// The rules of these listeners, in their order, and `authenticator` behind them. Without one,
    /// a user name is worth no more than none, since nobody can verify it: the rules hold for
    /// everybody.
    #[must_use]
    pub fn new(
        listeners: &[ListenerConfig],
        authenticator: Option<Arc<dyn Authenticator>>,
    ) -> Self {
        Self {
            anonymous: listeners.iter().map(|l| l.allow_anonymous).collect(),
            tenants: listeners.iter().map(|l| l.tenant.clone().into()).collect(),
            authenticator,
            is_certificate_good: None,
        }
    }

    /// Asks this, too, about whoever connects and whenever it is asked whether a grant still holds:
    /// whether the certificate of a client, if it has shown one, would be taken now. It was taken
    /// when it was shown, but that may have been before a list of revoked ones was read.
    #[must_use]
    pub fn certificates(self, is_good: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        Self {
            is_certificate_good: Some(Arc::new(is_good)),
            ..self
        }
    }

    fn has_lost_its_certificate(&self, peer: &Peer) -> bool {
        let is_good = self.is_certificate_good.as_ref();
        is_good.is_some_and(|is_good| !is_good(peer))
    }

    /// Decides about one client, or asks who does.
    #[must_use]
    pub fn decide(&self, credentials: Credentials) -> Decision {
        let peer = credentials.peer.clone();
        if self.has_lost_its_certificate(&peer) {
            return Decision::Now(Verdict::Refuse(ReasonCode::NOT_AUTHORIZED));
        }
        let source = self.tenants.get(usize::from(peer.listener)).cloned();
        let decision = self.judge(credentials);
        match (source, decision) {
            // Links of the program itself, and of listeners that are not in the rules, which let
            // nobody in.
            (None, decision) => decision,
            (Some(source), Decision::Now(verdict)) => Decision::Now(source.settle(verdict, &peer)),
            (Some(source), Decision::Later(verdict)) => {
                Decision::later(async move { source.settle(verdict.await, &peer) })
            }
        }
    }

    /// Whether what was granted to this peer still holds.
    #[must_use]
    pub fn still_holds(&self, peer: &Peer, grant: &Grant) -> bool {
        let own = self.authenticator.as_ref();
        peer.listener == IN_PROCESS
            || !self.has_lost_its_certificate(peer)
                && own.is_none_or(|own| own.still_holds(peer, grant))
    }

    /// A verdict that has taken its time: what it rests on may be gone by now.
    #[must_use]
    pub fn confirm(&self, peer: Option<Peer>, verdict: Verdict) -> Verdict {
        match (peer, verdict) {
            (Some(peer), Verdict::Accept(grant)) if !self.still_holds(&peer, &grant) => {
                Verdict::Refuse(ReasonCode::NOT_AUTHORIZED)
            }
            (_, verdict) => verdict,
        }
    }

    fn judge(&self, credentials: Credentials) -> Decision {
        let Credentials {
            username,
            password,
            method,
            peer,
            ..
        } = &credentials;
        if peer.listener == IN_PROCESS {
            return Decision::Now(Verdict::Accept(of_the_program()));
        }
        let shows_nothing = username.is_none() && password.is_none() && method.is_none();
        let rule = self.anonymous.get(usize::from(peer.listener));
        let may_be_anonymous = rule.is_some_and(|rule| rule.allows(peer));
        let refused = match &self.authenticator {
            Some(own) if own.is_asked_about_everyone() || !shows_nothing || may_be_anonymous => {
                return own.authenticate(credentials);
            }
            // A method that nobody here speaks must not pass for an authentication.
            None if method.is_some() => ReasonCode::BAD_AUTHENTICATION_METHOD,
            None if may_be_anonymous => return Decision::Now(Verdict::accept()),
            Some(_) | None => ReasonCode::NOT_AUTHORIZED,
        };
        Decision::Now(Verdict::Refuse(refused))
    }
}

/// What links of the program that embeds the broker may do, whatever the rules are: everything.
fn of_the_program() -> Grant {
    let topics = ["#", "$SYS/#"].map(|topic| Pattern::new(topic).expect("a topic filter"));
    Grant {
        rules: [Rule::new(Effect::Allow, Operations::ALL, topics.into())].into(),
        ..Grant::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::Version;
    use alloc::borrow::ToOwned;
    use alloc::vec;

    struct Yes;

    impl Authenticator for Yes {
        fn authenticate(&self, _: Credentials) -> Decision {
            Decision::Now(Verdict::accept())
        }
    }

    /// Takes back what it said to this user.
    struct No(&'static str);

    impl Authenticator for No {
        fn authenticate(&self, _: Credentials) -> Decision {
            Decision::Now(Verdict::accept())
        }

        fn still_holds(&self, _: &Peer, grant: &Grant) -> bool {
            grant.user.as_deref() != Some(self.0)
        }
    }

    /// A verdict that was on its way while somebody was revoked lets nobody in.
    #[test]
    fn a_verdict_that_has_taken_its_time_is_asked_about_again() {
        let policy = Policy::new(&[ListenerConfig::default()], Some(Arc::new(No("gone"))));
        let from = |listener| {
            Some(Peer {
                listener,
                ..Peer::default()
            })
        };
        let (gone, there) = (
            Verdict::Accept(Grant::to("gone")),
            Verdict::Accept(Grant::to("there")),
        );
        let refused = Verdict::Refuse(ReasonCode::NOT_AUTHORIZED);
        assert_eq!(policy.confirm(from(0), gone.clone()), refused);
        assert_eq!(policy.confirm(from(0), there.clone()), there);
        assert_eq!(policy.confirm(from(IN_PROCESS), gone.clone()), gone);
        // The client has gone itself.
        assert_eq!(policy.confirm(None, gone.clone()), gone);
        let busy = Verdict::Refuse(ReasonCode::SERVER_BUSY);
        assert_eq!(policy.confirm(from(0), busy.clone()), busy);
    }

    /// A handshake may end after the list was read that would have ended it.
    #[test]
    fn a_certificate_that_is_good_no_longer_lets_nobody_in() {
        let peer = |listener| Peer {
            listener,
            ..Peer::default()
        };
        let policy = Policy::new(&[ListenerConfig::default()], Some(Arc::new(Yes)))
            .certificates(|peer| peer.listener != 0);
        assert!(!policy.still_holds(&peer(0), &Grant::to("device")));
        assert!(policy.still_holds(&peer(IN_PROCESS), &Grant::default()));
        let credentials = Credentials {
            peer: peer(0),
            ..nobody()
        };
        let Decision::Now(verdict) = policy.decide(credentials) else {
            panic!("there is nothing to wait for");
        };
        assert_eq!(verdict, Verdict::Refuse(ReasonCode::NOT_AUTHORIZED));
    }

    fn nobody() -> Credentials {
        Credentials {
            peer: Peer {
                address: Some("192.0.2.1:1".parse().unwrap()),
                ..Peer::default()
            },
            version: Version::V5,
            client_id: "someone".to_owned(),
            username: None,
            password: None,
            method: None,
            data: None,
            continued: false,
            state: None,
        }
    }

    fn decision(
        rule: Anonymous,
        authenticator: Option<Arc<dyn Authenticator>>,
        change: impl FnOnce(&mut Credentials),
    ) -> Verdict {
        let listener = ListenerConfig {
            allow_anonymous: rule,
            ..ListenerConfig::default()
        };
        let mut credentials = nobody();
        change(&mut credentials);
        match Policy::new(&[listener], authenticator).decide(credentials) {
            Decision::Now(verdict) => verdict,
            Decision::Later(_) => panic!("there is nothing to wait for"),
        }
    }

    fn named(credentials: &mut Credentials) {
        credentials.username = Some("root".to_owned());
        credentials.password = Some(vec![1]);
    }

    #[test]
    fn a_user_name_nobody_can_verify_opens_nothing() {
        let refused = Verdict::Refuse(ReasonCode::NOT_AUTHORIZED);
        for rule in [Anonymous::LoopbackOnly, Anonymous::Never] {
            assert_eq!(decision(rule, None, named), refused);
            assert_eq!(decision(rule, None, |_| ()), refused);
        }
        let verdict = decision(Anonymous::Always, None, named);
        assert_eq!(verdict, Verdict::accept());
        let verdict = decision(Anonymous::Always, None, |c| c.method = Some("X".to_owned()));
        let expected = Verdict::Refuse(ReasonCode::BAD_AUTHENTICATION_METHOD);
        assert_eq!(verdict, expected);
    }

    #[test]
    fn an_authenticator_is_asked_about_whoever_shows_something() {
        let yes = || -> Option<Arc<dyn Authenticator>> { Some(Arc::new(Yes)) };
        assert_eq!(decision(Anonymous::Never, yes(), named), Verdict::accept());
        let verdict = decision(Anonymous::Never, yes(), |_| ());
        assert_eq!(verdict, Verdict::Refuse(ReasonCode::NOT_AUTHORIZED));
        let verdict = decision(Anonymous::Always, yes(), |_| ());
        assert_eq!(verdict, Verdict::accept());
        let verdict = decision(Anonymous::Always, yes(), |c| c.peer.listener = 7);
        assert_eq!(verdict, Verdict::Refuse(ReasonCode::NOT_AUTHORIZED));
    }
}
