//! What the runtimes share that needs the standard library but no threads or clocks: what an
//! operator sets about them, what their owners get of them, and who is asked whether a client may
//! connect.

pub mod agent;
pub mod client;
pub mod config;
mod error;
pub mod link;
pub mod policy;
mod server_url;
mod tenancy;
pub mod url;

pub use crate::access::network::{Network, NetworkError};
pub use config::{
    Anonymous, CertificateUser, ClientCertificate, FileMode, ListenerConfig, RecordingConfig,
    ServerConfig, SqliteConfig, StorageConfig, TlsVersion, fit,
};
pub use error::{Crashed, LinkError, ListenError, StartError, Stopped, StorageError};
pub use link::Message;
pub use policy::{Authenticator, Decision, Policy};
pub use server_url::{BadServerUrl, ServerUrl, TlsOptions};
pub use tenancy::{BadTenant, TenantSource};
pub use url::{BadUrl, ListenerUrl, Scheme};
