//! A client over any transport: the one of `whimbrel-host` with one task that carries bytes and
//! time to it.
//!
//! Not responsible for connecting again, and not for enhanced authentication.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use whimbrel_tokio::client::{self, Config, Message};
//!
//! let (connection, mut events) = client::open("localhost:1883", Config::default()).await?;
//! let message = Message { topic: "t".into(), payload: b"42".to_vec(), ..Message::default() };
//! connection.publish(message).await?.wait().await?;
//! connection.disconnect(&mut events).await;
//! # Ok(())
//! # }
//! ```

mod server;
mod task;

use crate::transport::Transport;
use std::io;
use task::Task;
use tokio::runtime::Handle;
use tokio::time::{Duration, timeout};
pub use whimbrel_core::client::{Config, Fault, Misuse, Will};
pub use whimbrel_core::runtime::client::{
    Accepted, Ended, Event, Message, OpenError, RequestError,
};
pub use whimbrel_core::runtime::{BadServerUrl, ServerUrl, TlsOptions};
pub use whimbrel_host::client::{Acknowledgement, Connection, Events};

/// Connects to a URL or `host:port` and waits until the server has accepted. Of TLS servers it
/// believes those that the system believes; see [`open_with`].
///
/// # Errors
///
/// Whatever comes in between.
pub async fn open(address: &str, config: Config) -> Result<(Connection, Events), OpenError> {
    open_with(&address.parse()?, &TlsOptions::default(), config).await
}

/// Connects and waits until the server has accepted.
///
/// # Errors
///
/// Whatever comes in between.
pub async fn open_with(
    server: &ServerUrl,
    tls: &TlsOptions,
    config: Config,
) -> Result<(Connection, Events), OpenError> {
    let patience = Duration::from_millis(config.response_timeout_ms);
    let (task, opening) = Task::new(config)?;
    let transport = timeout(patience, server::connect(server, tls))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    tokio::spawn(task.run(transport));
    opening.wait().await
}

/// Speaks over this transport, as a task of `runtime`, and waits until the server has accepted.
pub(crate) async fn over(
    transport: Transport,
    config: Config,
    runtime: &Handle,
) -> Result<(Connection, Events), OpenError> {
    let (task, opening) = Task::new(config)?;
    runtime.spawn(task.run(transport));
    opening.wait().await
}
