//! Who may connect: the seam between a shard and whoever decides.

use crate::config::ListenerConfig;
use core::pin::Pin;
use std::sync::Arc;
use tokio::sync::oneshot;
use whimbrel_auth::{Anonymous, Authority};
use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::codec::reason::ReasonCode;

/// Decides who may connect, instead of [`ServerConfig::authentication`]. Asked for every CONNECT
/// that the listener's rule on anonymous clients lets through, and for every AUTH.
///
/// ```
/// use std::sync::Arc;
/// use whimbrel_core::access::identity::Grant;
/// use whimbrel_core::action::{Credentials, Verdict};
/// use whimbrel_core::codec::ReasonCode;
/// use whimbrel_tokio::{Authenticator, Decision};
///
/// /// Asks a database, with a driver of the program's own runtime.
/// struct Customers {
///     runtime: tokio::runtime::Handle,
/// }
///
/// async fn customer_with(name: String, password: Vec<u8>) -> Result<bool, std::io::Error> {
///     // …
/// #   Ok(name == "ada" && password == b"1815")
/// }
///
/// impl Authenticator for Customers {
///     fn authenticate(&self, credentials: Credentials) -> Decision {
///         let (Some(name), Some(password)) = (credentials.username, credentials.password) else {
///             return Decision::Now(Verdict::Refuse(ReasonCode::NOT_AUTHORIZED));
///         };
///         let answer = self.runtime.spawn(customer_with(name.clone(), password));
///         Decision::later(async move {
///             match answer.await {
///                 Ok(Ok(true)) => Verdict::Accept(Grant {
///                     groups: vec!["customers".to_owned()],
///                     ..Grant::to(name)
///                 }),
///                 Ok(Ok(false)) => Verdict::Refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
///                 // A database that does not answer lets nobody in.
///                 Ok(Err(_)) | Err(_) => Verdict::Refuse(ReasonCode::SERVER_UNAVAILABLE),
///             }
///         })
///     }
/// }
/// ```
///
/// [`ServerConfig::authentication`]: crate::ServerConfig::authentication
pub trait Authenticator: Send + Sync + 'static {
    /// Decides, or says that it will. Runs on the thread of the shard, so it must not block, and a
    /// panic is the end of the broker; what takes time goes into [`Decision::Later`]. The client is
    /// not read meanwhile, and is cut when the time for CONNECT is over.
    fn authenticate(&self, credentials: Credentials) -> Decision;
}

/// What an [`Authenticator`] says.
pub enum Decision {
    /// The answer is known.
    Now(Verdict),
    /// The answer will be what this future returns. It runs on the shard's own tokio runtime, as a
    /// task: other runtimes' sockets and timers have to be awaited as a handle of a task there.
    Later(Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

impl Decision {
    /// The answer will be what this future returns; see [`Decision::Later`].
    pub fn later(verdict: impl Future<Output = Verdict> + Send + 'static) -> Self {
        Self::Later(Box::pin(verdict))
    }
}

/// The listener that in-process links are counted to.
pub(crate) const IN_PROCESS: u16 = u16::MAX;

/// Who is asked. Cheap to clone; every shard has one.
#[derive(Clone)]
pub(crate) enum Policy {
    /// What the configuration says.
    Configured(Arc<Authority>),
    /// The rules on anonymous clients, listener by listener, and a program's own authenticator.
    Embedder(Arc<[Anonymous]>, Arc<dyn Authenticator>),
}

impl Policy {
    pub(crate) fn embedder(
        listeners: &[ListenerConfig],
        authenticator: Arc<dyn Authenticator>,
    ) -> Self {
        let anonymous = listeners.iter().map(|l| l.allow_anonymous).collect();
        Self::Embedder(anonymous, authenticator)
    }

    pub(crate) fn decide(&self, credentials: Credentials) -> Decision {
        if credentials.peer.listener == IN_PROCESS {
            return Decision::Now(Verdict::accept());
        }
        match self {
            Self::Configured(authority) => ask(authority, credentials),
            Self::Embedder(anonymous, authenticator) => {
                let Credentials {
                    username,
                    method,
                    peer,
                    ..
                } = &credentials;
                let rule = anonymous.get(usize::from(peer.listener));
                let shows_something = username.is_some() || method.is_some();
                if shows_something || rule.is_some_and(|rule| rule.allows(peer)) {
                    authenticator.authenticate(credentials)
                } else {
                    Decision::Now(Verdict::Refuse(ReasonCode::NOT_AUTHORIZED))
                }
            }
        }
    }
}

fn ask(authority: &Authority, credentials: Credentials) -> Decision {
    let (sender, answer) = oneshot::channel();
    // The client may have gone when the answer comes.
    match authority.authenticate(credentials, |verdict| drop(sender.send(verdict))) {
        Some(verdict) => Decision::Now(verdict),
        None => Decision::later(async {
            let unanswered = Verdict::Refuse(ReasonCode::SERVER_UNAVAILABLE);
            answer.await.unwrap_or(unanswered)
        }),
    }
}
