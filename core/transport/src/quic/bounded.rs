//! A handshake of bounded length. rustls waits for the rest of a message of up to 64 KiB, and quinn
//! gives it whatever has come in order: so a client could have that kept by saying no more.

use quinn::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session,
    UnsupportedVersion,
};
use quinn::{ConnectionId, Side, TransportErrorCode};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;
use std::any::Any;
use std::sync::Arc;

/// What a server accepts with, of clients that say no more than this in their handshake.
pub(super) struct Server {
    config: Arc<dyn crypto::ServerConfig>,
    bytes_maximum: usize,
}

impl Server {
    pub(super) fn new(config: impl crypto::ServerConfig + 'static, bytes_maximum: usize) -> Self {
        Self {
            config: Arc::new(config),
            bytes_maximum,
        }
    }
}

impl crypto::ServerConfig for Server {
    fn initial_keys(&self, version: u32, to: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.config.initial_keys(version, to)
    }

    fn retry_tag(&self, version: u32, to: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.config.retry_tag(version, to, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        Box::new(Bounded {
            session: Arc::clone(&self.config).start_session(version, params),
            left_bytes: self.bytes_maximum,
        })
    }
}

/// The handshake of one client.
struct Bounded {
    session: Box<dyn Session>,
    /// What it may still say. Nothing is left to say once the handshake is done.
    left_bytes: usize,
}

impl Session for Bounded {
    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let left = self.left_bytes.checked_sub(bytes.len());
        self.left_bytes = left.ok_or_else(|| TransportError {
            code: TransportErrorCode::CRYPTO_BUFFER_EXCEEDED,
            frame: None,
            reason: "the handshake is too long".to_owned(),
        })?;
        self.session.read_handshake(bytes)
    }

    fn initial_keys(&self, to: &ConnectionId, side: Side) -> Keys {
        self.session.initial_keys(to, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.session.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.session.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.session.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.session.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.session.transport_parameters()
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        self.session.write_handshake(out)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.session.next_1rtt_keys()
    }

    fn is_valid_retry(&self, to: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.session.is_valid_retry(to, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.session.export_keying_material(output, label, context)
    }
}
