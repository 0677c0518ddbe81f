//! Listening sockets, as the poller watches them.

use crate::poll::{Bell, watch};
use crate::shard::key_of;
use crate::stream::{Pipe, Transport};
use core::net::SocketAddr;
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use whimbrel_core::Peer;
use whimbrel_core::runtime::ListenerConfig;
use whimbrel_host::listen::{Accept, Listening, settle};
use whimbrel_host::shard::Source;
use whimbrel_host::socket::Interest;
use whimbrel_transport::{Fault, Layered, Security};

/// One listening socket.
pub struct Acceptor {
    socket: Listening,
    bell: Arc<Bell>,
    /// Its place in the configuration.
    number: u16,
    watched: Option<Interest>,
}

impl Acceptor {
    pub(crate) fn new(socket: &Listening, bell: &Arc<Bell>, number: u16) -> io::Result<Self> {
        Ok(Self {
            socket: socket.try_clone()?,
            bell: Arc::clone(bell),
            number,
            watched: None,
        })
    }
}

impl Accept for Acceptor {
    type Newcomer = Pipe;
    type Transport = Transport;

    fn accept(&mut self, config: &ListenerConfig) -> io::Result<(Pipe, Option<SocketAddr>)> {
        match &self.socket {
            Listening::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                settle(&SockRef::from(&stream), config);
                stream.set_nonblocking(true)?;
                Ok((Pipe::Tcp(stream), Some(address)))
            }
            Listening::Unix(socket, _) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Pipe::Unix(stream), None))
            }
        }
    }

    fn watch(&mut self, is_watched: bool) -> io::Result<()> {
        let wanted = Interest {
            read: is_watched,
            write: false,
        };
        let (poller, before) = (&self.bell.0, self.watched);
        let key = key_of(Source::Listener(self.number));
        match &self.socket {
            Listening::Tcp(socket) => watch(poller, socket, key, before, wanted)?,
            Listening::Unix(socket, _) => watch(poller, socket, key, before, wanted)?,
        }
        self.watched = Some(wanted);
        Ok(())
    }

    fn transport(pipe: Pipe, security: &Security, peer: &Peer) -> Result<Transport, Fault> {
        let layers = security.layers(peer)?;
        let layers = layers.map(|layers| Layered::new(layers, Vec::new()));
        Ok(Transport::new(pipe, layers))
    }
}
