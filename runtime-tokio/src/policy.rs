//! Who may connect: the default policy, and the seam for a program's own.

use crate::config::{Anonymous, ListenerConfig};
use core::pin::Pin;
use std::sync::Arc;
use whimbrel_core::access::identity::Grant;
use whimbrel_core::access::rule::{Effect, Operations, Pattern, Rule};
use whimbrel_core::action::{Credentials, Peer, Verdict};
use whimbrel_core::codec::reason::ReasonCode;

/// Decides who may connect. Asked for every CONNECT that the listener's rule on anonymous clients
/// lets through, and for every AUTH.
pub trait Authenticator: Send + Sync + 'static {
    /// Decides, or says that it will. Runs on the thread of the shard, so it must not block; what
    /// takes time goes into [`Decision::Later`]. The client is not read meanwhile, and is cut when
    /// the time for CONNECT is over.
    fn authenticate(&self, credentials: Credentials) -> Decision;
}

/// What an [`Authenticator`] says.
pub enum Decision {
    /// The answer is known.
    Now(Verdict),
    /// The answer will be what this future returns. It runs on the shard's own tokio runtime, as a
    /// task.
    Later(Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

/// The listener that in-process links are counted to.
pub(crate) const IN_PROCESS: u16 = u16::MAX;

/// The rules on anonymous clients, listener by listener, and the authenticator behind them.
pub(crate) struct Policy {
    anonymous: Vec<Anonymous>,
    authenticator: Option<Arc<dyn Authenticator>>,
}

impl Policy {
    pub(crate) fn new(
        listeners: &[ListenerConfig],
        authenticator: Option<Arc<dyn Authenticator>>,
    ) -> Self {
        Self {
            anonymous: listeners.iter().map(|l| l.allow_anonymous).collect(),
            authenticator,
        }
    }

    pub(crate) fn decide(&self, credentials: Credentials) -> Decision {
        if credentials.peer.listener == IN_PROCESS {
            return Decision::Now(Verdict::Accept(of_the_program()));
        }
        let anonymous = credentials.username.is_none() && credentials.method.is_none();
        if anonymous && !self.allows_anonymous(&credentials.peer) {
            return Decision::Now(Verdict::Refuse(ReasonCode::NOT_AUTHORIZED));
        }
        match &self.authenticator {
            Some(authenticator) => authenticator.authenticate(credentials),
            // A method that nobody here speaks must not pass for an authentication.
            None if credentials.method.is_some() => {
                Decision::Now(Verdict::Refuse(ReasonCode::BAD_AUTHENTICATION_METHOD))
            }
            None => Decision::Now(Verdict::accept()),
        }
    }

    fn allows_anonymous(&self, peer: &Peer) -> bool {
        let rule = self.anonymous.get(usize::from(peer.listener));
        matches!((rule, peer.address), (Some(rule), Some(address)) if rule.allows(address))
    }
}

/// What links of the program that embeds the broker may do, whatever the rules are: everything.
fn of_the_program() -> Grant {
    let topics = ["#", "$SYS/#"].map(|topic| Pattern::new(topic).expect("a topic filter"));
    Grant {
        rules: vec![Rule::new(Effect::Allow, Operations::ALL, topics.into())],
        ..Grant::default()
    }
}
