//! Whimbrel on tokio: the sockets, timers and threads of an MQTT broker.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use whimbrel_core::codec::packet::QoS;
//! use whimbrel_tokio::{ListenerConfig, Server, ServerConfig};
//!
//! let broker = Server::new(ServerConfig {
//!     listeners: vec![ListenerConfig::at("127.0.0.1:0".parse()?)],
//!     ..ServerConfig::default()
//! })
//! .start()?;
//! println!("MQTT on {}", broker.addresses()[0]);
//! let mut greetings = broker.subscribe("hello/#", QoS::AtLeastOnce).await?;
//! broker.publish("hello/world", b"hi", QoS::AtLeastOnce, false).await?;
//! assert_eq!(greetings.next().await.map(|message| message.payload), Some(b"hi".to_vec()));
//! broker.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! All rules of MQTT are in [`whimbrel_core`]; this crate carries bytes and time to it and does
//! what it asks for. A [`Server`] runs one [`Broker`](whimbrel_core::Broker) a shard, each on a
//! thread and a current-thread runtime of its own, so the program around it may use any runtime, or
//! none.
//!
//! | module | responsible for |
//! |---|---|
//! | `server` | starting, and connections from inside the program |
//! | `shard` | the loop, and what it needs of the system |
//! | `ready` | what is to be done next, and by whom the loop is woken |
//! | `transport` | what bytes travel over, and the layers between that and MQTT |
//! | `listen` | accepting |
//! | `outbox` | the way from one shard to another |
//! | `farewell` | how shards leave together |
//! | [`client`] | the other end: a connection to a broker |
//! | `recording` | writing down what goes into a broker, and its thread |

#![forbid(unsafe_code)]

pub mod client;
mod farewell;
mod listen;
mod outbox;
mod ready;
mod recording;
mod server;
mod shard;
mod timer;
mod transport;

/// A broker that has not been started.
///
/// Whom it asks who may connect, a program may bring along, and ask whom it likes:
///
/// ```
/// use whimbrel_core::Grant;
/// use whimbrel_core::action::{Credentials, Verdict};
/// use whimbrel_core::codec::ReasonCode;
/// use whimbrel_tokio::{Authenticator, Decision, Server, ServerConfig};
///
/// /// Asks a database, with a driver of the program's own runtime.
/// struct Customers {
///     runtime: tokio::runtime::Handle,
/// }
///
/// async fn is_customer(name: String, password: Vec<u8>) -> Result<bool, std::io::Error> {
///     // …
/// #   Ok(name == "ada" && password == b"1815")
/// }
///
/// impl Authenticator for Customers {
///     fn authenticate(&self, credentials: Credentials) -> Decision {
///         let Credentials { username, password, .. } = credentials;
///         let (Some(name), Some(password)) = (username, password) else {
///             return Decision::Now(Verdict::Refuse(ReasonCode::NOT_AUTHORIZED));
///         };
///         let answer = self.runtime.spawn(is_customer(name.clone(), password));
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
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// let runtime = runtime.handle().clone();
/// let server = Server::new(ServerConfig::default()).authenticator(Customers { runtime });
/// ```
pub type Server = whimbrel_host::Server<runtime::Tokio>;

/// A running broker. Dropping it stops the broker promptly, without waiting for it.
pub type Handle = whimbrel_host::Handle<runtime::Tokio>;

/// What `whimbrel-host` drives. Nothing here is to be called.
pub mod runtime {
    pub use crate::listen::{Acceptor, Listening};
    pub use crate::server::Tokio;
    pub use crate::shard::System;
    pub use crate::transport::{Newcomer, Watched};
}

pub use whimbrel_core::runtime::{
    Anonymous, Authenticator, BadTenant, BadUrl, CertificateUser, ClientCertificate, Crashed,
    Decision, FileMode, LinkError, ListenError, ListenerConfig, ListenerUrl, Message, Network,
    NetworkError, RecordingConfig, Scheme, ServerConfig, SqliteConfig, StartError, Stopped,
    StorageConfig, StorageError, TenantSource, TlsVersion,
};
pub use whimbrel_host::link::Subscription;
pub use whimbrel_transport::{
    CertificateError, CertificateFinding, Certificates, check_certificates,
};
