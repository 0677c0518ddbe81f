//! TLS as a layer: bytes of the wire to bytes of the application and back, by rustls, which owns no
//! buffer and no socket here. An idle connection keeps its keys and nothing else.

pub(crate) mod authorities;
pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod facts;
mod x509;

use crate::layers::Fault;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, ServerConfig};
use std::sync::Arc;

/// What may wait to be complete: before the handshake is done, a chain of client certificates;
/// afterwards one record. A peer that goes on beyond it without an end is cut.
const UNDONE_BYTES_MAXIMUM: usize = 32 << 10;

/// Plaintext in one record, at most.
const RECORD_BYTES: usize = 16 << 10;

/// One TLS connection.
pub(crate) struct Tls {
    side: Side,
    /// The beginning of a record, or of a message of the handshake.
    undone: Vec<u8>,
    is_open: bool,
    /// The peer has said that it sends no more.
    has_ended: bool,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// What is to be said once there is nothing else to do.
#[derive(Clone, Copy)]
enum Say<'a> {
    Nothing,
    /// One record.
    Record(&'a [u8]),
    /// No more will follow.
    Goodbye,
}

/// What one step came to.
enum Step {
    /// There is more to do.
    More,
    /// Nothing until more arrives; before the end of the handshake.
    Wait,
    /// Nothing until more arrives; what was to be said is said.
    Open,
    /// The peer sends no more.
    End,
}

impl Tls {
    /// # Errors
    ///
    /// The configuration fits no handshake.
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, Fault> {
        Ok(Self::new(Side::Server(UnbufferedServerConnection::new(
            config,
        )?)))
    }

    /// # Errors
    ///
    /// The configuration fits no handshake.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Fault> {
        Ok(Self::new(Side::Client(UnbufferedClientConnection::new(
            config, name,
        )?)))
    }

    const fn new(side: Side) -> Self {
        Self {
            side,
            undone: Vec::new(),
            is_open: false,
            has_ended: false,
        }
    }

    /// Whether the handshake is done.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the peer sends no more.
    pub(crate) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The client's certificate and what it was shown with, once the handshake is done.
    pub(crate) fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        let chain = match &self.side {
            Side::Client(connection) => connection.peer_certificates(),
            Side::Server(connection) => connection.peer_certificates(),
        };
        chain.unwrap_or_default()
    }

    /// Takes bytes from the wire; appends what they mean to `plain`, and what is to be answered to
    /// `answers`, also when it fails: why is told to the peer.
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
        let mut undone = core::mem::take(&mut self.undone);
        let input = if undone.is_empty() {
            wire
        } else {
            undone.extend_from_slice(wire);
            &mut undone
        };
        let (used, result) = self.process(input, Say::Nothing, plain, answers);
        let left = &mut input[used..];
        if let Err(fault) = result {
            self.is_open = false;
            self.tell_why(left, answers);
            return Err(fault);
        }
        if left.len() > UNDONE_BYTES_MAXIMUM {
            return Err(Fault::TooLong("TLS message"));
        }
        // Exactly as large as need be: mostly nothing.
        self.undone = (*left).into();
        Ok(())
    }

    /// Encrypts.
    ///
    /// # Errors
    ///
    /// The keys are used up, or the handshake is not done.
    pub(crate) fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Fault> {
        plain
            .chunks(RECORD_BYTES)
            .try_for_each(|record| self.say(Say::Record(record), wire))
    }

    /// Says that no more will be sent.
    pub(crate) fn goodbye(&mut self, wire: &mut Vec<u8>) {
        if self.is_open {
            // Only a courtesy.
            let _ = self.say(Say::Goodbye, wire);
        }
    }

    /// Starts a client's handshake.
    ///
    /// # Errors
    ///
    /// There is no randomness.
    pub(crate) fn start(&mut self, wire: &mut Vec<u8>) -> Result<(), Fault> {
        self.receive(&mut [], &mut Vec::new(), wire)
    }

    fn say(&mut self, what: Say<'_>, wire: &mut Vec<u8>) -> Result<(), Fault> {
        if !self.is_open {
            return Err(Fault::NotOpen);
        }
        let mut undone = core::mem::take(&mut self.undone);
        // Nothing is complete in there, so no plaintext comes of it.
        let (used, result) = self.process(&mut undone, what, &mut Vec::new(), wire);
        undone.drain(..used);
        self.undone = undone;
        self.is_open &= result.is_ok();
        result
    }

    /// Goes on as far as it goes; how much of `input` is done with.
    fn process(
        &mut self,
        input: &mut [u8],
        say: Say<'_>,
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> (usize, Result<(), Fault>) {
        let mut used = 0;
        loop {
            let rest = &mut input[used..];
            let (discard, step) = match &mut self.side {
                Side::Client(connection) => {
                    step(connection.process_tls_records(rest), say, plain, wire)
                }
                Side::Server(connection) => {
                    step(connection.process_tls_records(rest), say, plain, wire)
                }
            };
            used += discard;
            match step {
                Ok(Step::More) => {}
                Ok(Step::Wait) => return (used, Ok(())),
                Ok(Step::Open) => {
                    self.is_open = true;
                    return (used, Ok(()));
                }
                Ok(Step::End) => {
                    self.has_ended = true;
                    return (used, Ok(()));
                }
                Err(fault) => return (used, Err(fault)),
            }
        }
    }

    /// Appends the alert that goes with a failure. Nothing else may be asked of a connection that
    /// has failed.
    fn tell_why(&mut self, left: &mut [u8], wire: &mut Vec<u8>) {
        let mut used = 0;
        let mut plain = Vec::new();
        loop {
            let rest = &mut left[used..];
            let (discard, _) = match &mut self.side {
                Side::Client(connection) if connection.wants_write() => {
                    let status = connection.process_tls_records(rest);
                    step(status, Say::Nothing, &mut plain, wire)
                }
                Side::Server(connection) if connection.wants_write() => {
                    let status = connection.process_tls_records(rest);
                    step(status, Say::Nothing, &mut plain, wire)
                }
                Side::Client(_) | Side::Server(_) => return,
            };
            used += discard;
        }
    }
}

fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    say: Say<'_>,
    plain: &mut Vec<u8>,
    wire: &mut Vec<u8>,
) -> (usize, Result<Step, Fault>) {
    let UnbufferedStatus { discard, state } = status;
    let step = state.map_err(Fault::from).and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                plain.extend_from_slice(record?.payload);
            }
            Ok(Step::More)
        }
        ConnectionState::EncodeTlsData(mut message) => {
            append(wire, |room| match message.encode(room) {
                Err(EncodeError::InsufficientSize(error)) => Err(error.required_size),
                // It cannot be encoded twice, as it is only once.
                other => Ok(other.unwrap_or_default()),
            });
            Ok(Step::More)
        }
        ConnectionState::TransmitTlsData(message) => {
            // It is, in order, before anything that follows from it.
            message.done();
            Ok(Step::More)
        }
        ConnectionState::BlockedHandshake => Ok(Step::Wait),
        ConnectionState::WriteTraffic(mut traffic) => {
            let mut is_exhausted = false;
            append(wire, |room| {
                let said = match say {
                    Say::Nothing => Ok(0),
                    Say::Record(record) => traffic.encrypt(record, room),
                    Say::Goodbye => traffic.queue_close_notify(room),
                };
                match said {
                    Err(EncryptError::InsufficientSize(error)) => Err(error.required_size),
                    Err(EncryptError::EncryptExhausted) => {
                        is_exhausted = true;
                        Ok(0)
                    }
                    Ok(count) => Ok(count),
                }
            });
            if is_exhausted {
                return Err(Fault::KeysUsedUp);
            }
            Ok(Step::Open)
        }
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::End),
        // Nobody is allowed to send early data, and there is nothing else.
        ConnectionState::ReadEarlyData(_) | _ => Err(Fault::NotOpen),
    });
    (discard, step)
}

/// Appends what `write` puts into the room it is given, of which it says how much it needs.
fn append(wire: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let begin = wire.len();
    let mut room = 0;
    // The second time there is room enough.
    for _ in 0..2 {
        wire.resize(begin + room, 0);
        match write(&mut wire[begin..]) {
            Ok(count) => {
                wire.truncate(begin + count);
                return;
            }
            Err(required) => room = required,
        }
    }
    wire.truncate(begin);
}
