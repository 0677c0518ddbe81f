//! What this runtime gives a server: one shard, and a poller.

use crate::client::{self, Connection, Events, OpenError};
use crate::listen::Acceptor;
use crate::poll::Bell;
use crate::shard::{System, run};
use crate::stream::{Pipe, Transport};
use core::task::Waker;
use polling::Poller;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use whimbrel_core::runtime::{
    ListenError, ListenerConfig, RecordingConfig, Scheme, ServerConfig, StartError,
};
use whimbrel_host::listen::{Bound, Listening, bind};
use whimbrel_host::shard::{Seat, Shard};
use whimbrel_host::{Runtime, Threads};
use whimbrel_transport::without;

/// This runtime.
#[derive(Debug)]
pub struct Smol {
    bell: Arc<Bell>,
}

impl Runtime for Smol {
    type Driver = System;
    type Listening = Listening;
    type Stream = UnixStream;

    fn new(config: &ServerConfig, _: u16) -> Result<Self, StartError> {
        if config.threads != 1 {
            return Err(StartError::Threads(config.threads));
        }
        if let Some(RecordingConfig { file, .. }) = &config.recording {
            return Err(StartError::Recording {
                file: file.clone(),
                source: io::ErrorKind::Unsupported.into(),
            });
        }
        let bell = Arc::new(Bell(Poller::new()?));
        Ok(Self { bell })
    }

    fn bell(&self, _: u16) -> Waker {
        Arc::clone(&self.bell).into()
    }

    fn bind(&self, config: &ListenerConfig, _: &Threads) -> Result<Bound<Listening>, ListenError> {
        bind(config, |_| match config.url.scheme() {
            Scheme::Quic => Err(without("quic")),
            Scheme::Tcp | Scheme::Tls | Scheme::Ws | Scheme::Wss | Scheme::Unix => {
                Listening::open(config)
            }
        })
    }

    fn spawn(
        &mut self,
        seat: Seat<System>,
        listeners: &[Bound<Listening>],
    ) -> Result<(), StartError> {
        let threads = seat.threads.clone();
        let acceptors = listeners.iter().zip(0..);
        let acceptors = acceptors
            .map(|(bound, number)| bound.with(|socket| Acceptor::new(socket, &self.bell, number)))
            .collect::<io::Result<Vec<_>>>()?;
        let shard = Shard::new(seat, System(Arc::clone(&self.bell)), acceptors)?;
        threads.spawn("whimbrel", 0, move || run(shard))?;
        Ok(())
    }

    fn pair(&self) -> io::Result<(UnixStream, Transport)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok((ours, Transport::new(Pipe::Unix(theirs), None)))
    }

    async fn connect(
        &self,
        stream: UnixStream,
        config: client::Config,
    ) -> Result<(Connection, Events), OpenError> {
        client::over(stream, config).await
    }
}
