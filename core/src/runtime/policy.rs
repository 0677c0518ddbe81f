//! Who may connect: the default policy, and the seam for a program's own.

use super::config::{Anonymous, ListenerConfig};
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
    /// The answer will be what this future returns. It runs on the shard's own thread, as a
    /// task, and so must not block.
    Later(Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

/// The listener that in-process links are counted to.
pub const IN_PROCESS: u16 = u16::MAX;

/// The rules on anonymous clients, listener by listener, and the authenticator behind them.
pub struct Policy {
    anonymous: Vec<Anonymous>,
    authenticator: Option<Arc<dyn Authenticator>>,
}

impl Policy {
    /// The rules of these listeners, in their order, and `authenticator` behind them.
    #[must_use]
    pub fn new(
        listeners: &[ListenerConfig],
        authenticator: Option<Arc<dyn Authenticator>>,
    ) -> Self {
        Self {
            anonymous: listeners.iter().map(|l| l.allow_anonymous).collect(),
            authenticator,
        }
    }

    /// Decides about one client, or asks who does.
    #[must_use]
    pub fn decide(&self, credentials: Credentials) -> Decision {
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
        rule.is_some_and(|rule| rule.allows(peer.address))
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
