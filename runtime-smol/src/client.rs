//! A client over any transport: the one of `whimbrel-host` with one thread that carries bytes and
//! time to it.
//!
//! Not responsible for connecting again, and not for enhanced authentication.

mod task;

use crate::poll::Bell;
use crate::stream::{Pipe, Transport};
use core::time::Duration;
use polling::Poller;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use task::{Task, Wire, connect};
pub use whimbrel_core::client::{Config, Fault, Misuse, Will};
pub use whimbrel_core::runtime::client::{
    Accepted, Ended, Event, Message, OpenError, RequestError,
};
use whimbrel_core::runtime::{ServerUrl, TlsOptions};
use whimbrel_host::Clock;
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
    let patience = Duration::from_millis(config.response_timeout_ms.max(1));
    let (server, tls) = (server.clone(), tls.clone());
    start(config, move |bell| connect(&server, &tls, patience, bell)).await
}

/// Speaks over this stream, and waits until the server has accepted.
pub(crate) async fn over(
    stream: UnixStream,
    config: Config,
) -> Result<(Connection, Events), OpenError> {
    let transport = Transport::new(Pipe::Unix(stream), None);
    start(config, move |bell| Ok(Wire::new(transport, bell))).await
}

async fn start(
    config: Config,
    connect: impl FnOnce(Arc<Bell>) -> io::Result<Wire> + Send + 'static,
) -> Result<(Connection, Events), OpenError> {
    let clock = Clock::start();
    let bell = Arc::new(Bell(Poller::new()?));
    let waker = Arc::clone(&bell).into();
    let (opening, courier) = whimbrel_host::client::open(config, clock.now().monotonic, waker)?;
    let thread = thread::Builder::new().name("whimbrel-client".into());
    thread.spawn(move || match connect(bell) {
        Ok(wire) => Task { courier, clock }.run(wire),
        Err(error) => courier.fail(error.into()),
    })?;
    opening.wait().await
}
