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
//! | `server` | starting, the [`Handle`], stopping |
//! | `shard` | the loop |
//! | `ready` | what is to be done next, and by whom the loop is woken |
//! | `socket` | bytes in, bytes out, and lingering after the end |
//! | `transport` | what bytes travel over, and the layers between that and MQTT |
//! | `listen` | opening listeners, accepting |
//! | `outbox` | the way from one shard to another |
//! | [`client`] | the other end: a connection to a broker |
//! | `recording` | writing down what goes into a broker, and its thread |

#![forbid(unsafe_code)]

pub mod client;
mod listen;
mod outbox;
mod ready;
mod recording;
mod server;
mod shard;
mod socket;
mod stop;
mod timer;
mod transport;

pub use server::{Handle, Server};
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
