//! The layers between a pipe and MQTT, as one machine without I/O: bytes of the wire in, bytes of
//! MQTT out, and back. From the wire up: a PROXY header, TLS, WebSocket, each if the listener has
//! it.
//!
//! Handshakes are part of it, so a connection that stalls in one is a connection that has not sent
//! CONNECT: it ends with the time for that, and holds no more than what has to wait here for the
//! rest of a header, a record or a request: 4 KiB, 32 KiB and 8 KiB.

#![cfg_attr(
    not(all(feature = "tls", feature = "websocket")),
    allow(
        unused_variables,
        clippy::needless_pass_by_ref_mut,
        clippy::ptr_arg,
        clippy::unused_self,
        reason = "a layer that this build does not have uses nothing"
    )
)]

use crate::proxy::{self, BadHeader, Source};
#[cfg(feature = "tls")]
use crate::tls::{self, Tls};
#[cfg(feature = "websocket")]
use crate::websocket::WebSocket;
use core::net::SocketAddr;
use thiserror::Error;
use whimbrel_core::Peer;
use whimbrel_core::access::identity::Certificate;

/// What a peer did wrong below MQTT. It ends the connection.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Fault {
    /// The listener takes connections of listed proxies alone.
    #[error("it is none of the proxies that may connect here")]
    NotAProxy,
    /// A PROXY header had to come first.
    #[error(transparent)]
    Proxy(#[from] BadHeader),
    /// What rustls says.
    #[cfg(feature = "tls")]
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// What quinn says.
    #[cfg(feature = "quic")]
    #[error("QUIC: {0}")]
    Quic(#[from] quinn::ConnectionError),
    /// Its certificate cannot stand for anybody.
    #[error("a name in its certificate is empty or has control characters")]
    Certificate,
    /// A frame, or the request or response before them.
    #[cfg(feature = "websocket")]
    #[error("WebSocket: {0}")]
    WebSocket(&'static str),
    /// The server does not open a WebSocket.
    #[cfg(feature = "websocket")]
    #[error("WebSocket: the server answers with HTTP status {0}; is the path right?")]
    Http(u16),
    /// Of what.
    #[cfg(any(feature = "tls", feature = "websocket"))]
    #[error("a {0} is too long")]
    TooLong(&'static str),
    /// More was said than is safe with one set of keys.
    #[cfg(feature = "tls")]
    #[error("TLS: the keys are used up")]
    KeysUsedUp,
    /// Something was to be said before its time.
    #[cfg(any(feature = "tls", feature = "websocket"))]
    #[error("the handshake is not done")]
    NotOpen,
}

/// The layers of one connection.
#[derive(Default)]
pub struct Layers {
    /// The beginning of a PROXY header that has to come.
    proxy: Option<Vec<u8>>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    #[cfg(feature = "websocket")]
    websocket: Option<WebSocket>,
    /// Who it is, until that has been told.
    peer: Option<Box<Peer>>,
    address: Option<SocketAddr>,
}

impl Layers {
    /// Of a connection that a listener has accepted: `peer` is what is known of it so far.
    pub(crate) fn of(peer: Peer) -> Self {
        Self {
            address: peer.address,
            peer: Some(Box::new(peer)),
            ..Self::default()
        }
    }

    /// A PROXY header has to come first.
    pub(crate) fn expect_proxy_header(&mut self) {
        self.proxy = Some(Vec::new());
    }

    #[cfg(feature = "tls")]
    pub(crate) fn add_tls(&mut self, tls: Tls) {
        self.tls = Some(tls);
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn add_websocket(&mut self, websocket: WebSocket) {
        self.websocket = Some(websocket);
    }

    /// Begins, as a client.
    ///
    /// # Errors
    ///
    /// There is no randomness.
    pub(crate) fn start(&mut self, wire: &mut Vec<u8>) -> Result<(), Fault> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.start(wire);
        }
        #[cfg(feature = "websocket")]
        if let Some(websocket) = &self.websocket {
            websocket.start(wire);
        }
        Ok(())
    }

    /// Where it comes from, as far as is known.
    pub(crate) const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether all handshakes are done.
    pub(crate) fn is_open(&self) -> bool {
        let is_open = self.proxy.is_none();
        #[cfg(feature = "tls")]
        let is_open = is_open && self.tls.as_ref().is_none_or(Tls::is_open);
        #[cfg(feature = "websocket")]
        let is_open = is_open && self.websocket.as_ref().is_none_or(WebSocket::is_open);
        is_open
    }

    /// Whether the peer has said that it sends no more.
    pub(crate) fn has_ended(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.as_ref().is_some_and(Tls::has_ended) {
            return true;
        }
        #[cfg(feature = "websocket")]
        if self.websocket.as_ref().is_some_and(WebSocket::has_ended) {
            return true;
        }
        false
    }

    /// Who it is, once all handshakes are done; told once.
    pub(crate) fn introduce(&mut self) -> Option<Peer> {
        if self.peer.is_some() && self.is_open() {
            self.peer.take().map(|peer| *peer)
        } else {
            None
        }
    }

    /// Takes bytes of the wire; appends what they mean to `plain`, and bytes for the wire to
    /// `answers`, also when it fails.
    ///
    /// # Errors
    ///
    /// The peer's fault; nothing more can be received.
    pub(crate) fn receive(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let Some(used) = self.receive_proxy(wire)? else {
            return Ok(());
        };
        let wire = &mut wire[used..];
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return self.receive_tls(wire, plain, answers);
        }
        self.receive_websocket(wire, plain, answers)
    }

    /// How much of it was the PROXY header; `None` when that has not ended.
    fn receive_proxy(&mut self, wire: &[u8]) -> Result<Option<usize>, Fault> {
        let Some(head) = &mut self.proxy else {
            return Ok(Some(0));
        };
        let before = head.len();
        let room = proxy::HEADER_BYTES_MAXIMUM - before;
        head.extend_from_slice(&wire[..wire.len().min(room)]);
        let Some((header, length)) = proxy::read(head)? else {
            return Ok(None);
        };
        self.proxy = None;
        self.is_passed_on(header.source);
        if let Some(peer) = &mut self.peer {
            #[cfg(feature = "websocket")]
            if let Some(websocket) = &mut self.websocket {
                websocket.set_peer(peer.address.map(|address| address.ip()));
            }
            if header.common_name.is_some() {
                let certificate = Certificate::new(header.common_name, None, Vec::new());
                peer.certificate = Some(Box::new(certificate.map_err(|_| Fault::Certificate)?));
            }
        }
        Ok(Some(length - before))
    }

    /// Who has been the client so far is a proxy, which tells whose connection it is.
    fn is_passed_on(&mut self, source: Source) {
        let address = match source {
            Source::Proxy => return,
            // It is no client of this machine because its proxy is.
            Source::Unknown => None,
            Source::Address(address) => Some(address),
        };
        if let Some(peer) = &mut self.peer {
            let told_by = core::mem::replace(&mut peer.address, address);
            self.address = address.or(told_by);
            // Of several in a row the one that is connected here counts.
            peer.proxy = peer.proxy.or(told_by);
        }
    }

    #[cfg(feature = "tls")]
    fn receive_tls(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        let was_open = tls.is_open();
        let mut inner = Vec::new();
        let received = tls.receive(wire, &mut inner, answers);
        let has_opened = tls.is_open() && !was_open;
        if has_opened
            && let Some(certificate) = tls::facts::read(tls.peer_certificates())?
            && let Some(peer) = &mut self.peer
        {
            peer.certificate = Some(Box::new(certificate));
        }
        let mut answers_above = Vec::new();
        // A client asks for WebSocket as soon as it can.
        #[cfg(feature = "websocket")]
        if has_opened && let Some(websocket) = &self.websocket {
            websocket.start(&mut answers_above);
        }
        let understood = self.receive_websocket(&mut inner, plain, &mut answers_above);
        if let Some(tls) = &mut self.tls
            && !answers_above.is_empty()
        {
            tls.send(&answers_above, answers)?;
        }
        received?;
        understood
    }

    fn receive_websocket(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        #[cfg(feature = "websocket")]
        if let Some(websocket) = &mut self.websocket {
            if let Some(source) = websocket.receive(bytes, plain, answers)? {
                self.is_passed_on(source);
            }
            return Ok(());
        }
        plain.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes bytes for the wire.
    ///
    /// # Errors
    ///
    /// It is not open.
    pub(crate) fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Fault> {
        #[cfg(feature = "websocket")]
        if self.websocket.is_some() {
            return self.frame(wire, |websocket, out| websocket.send(plain, out));
        }
        self.seal(plain, wire)
    }

    /// Answers what may wait until everything before it has been written.
    pub(crate) fn answer_ping(&mut self, wire: &mut Vec<u8>) {
        #[cfg(feature = "websocket")]
        {
            // It fails only when nothing can be sent any more.
            let _ = self.frame(wire, |websocket, out| {
                websocket.answer_ping(out);
                Ok(())
            });
        }
    }

    /// Says that no more will be sent.
    pub(crate) fn goodbye(&mut self, wire: &mut Vec<u8>) {
        #[cfg(feature = "websocket")]
        {
            // Only a courtesy.
            let _ = self.frame(wire, |websocket, out| {
                websocket.goodbye(out);
                Ok(())
            });
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.goodbye(wire);
        }
    }

    /// Lets WebSocket make frames, and passes them on.
    #[cfg(feature = "websocket")]
    fn frame(
        &mut self,
        wire: &mut Vec<u8>,
        make: impl FnOnce(&mut WebSocket, &mut Vec<u8>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Some(websocket) = &mut self.websocket else {
            return Ok(());
        };
        let mut frames = Vec::new();
        make(websocket, &mut frames)?;
        if frames.is_empty() {
            return Ok(());
        }
        self.seal(&frames, wire)
    }

    /// Lets TLS encrypt, if there is any.
    fn seal(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), Fault> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.send(bytes, wire);
        }
        wire.extend_from_slice(bytes);
        Ok(())
    }
}
