//! What QUIC connections are made with: TLS as elsewhere, and the limits of their transport. The
//! connections themselves want a runtime.

mod bounded;

use crate::tls;
use core::time::Duration;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use std::sync::Arc;
use whimbrel_core::runtime::{ListenerConfig, Scheme, TlsOptions, TlsVersion};

/// What a connection may hold of bytes that are on their way, in each direction, unless the
/// listener says otherwise: 50 Mbit/s at a round trip of 40 ms.
const WINDOW_BYTES: u32 = 256 << 10;

/// What a client may say in its handshake, as with TLS elsewhere: a chain of certificates.
const HANDSHAKE_BYTES: usize = 32 << 10;

/// What waits of it for what was to come before. What does not fit ends the connection, so it is
/// what a client sends at once before it has heard of any of it. quinn may hold 32 KiB more with
/// it, of packets that had little of the handshake in them.
const OVERTAKING_BYTES: usize = 16 << 10;

/// Clients that wait to be accepted, and what each may send meanwhile: its first flight.
const WAITING_MAXIMUM: usize = 1_024;
const WAITING_BYTES: u64 = 8 << 10;

/// What a client connects with.
///
/// # Errors
///
/// In words: a file that is not what it should be, or options that do not go together.
pub fn connect_with(options: &TlsOptions) -> Result<quinn::ClientConfig, String> {
    let tls = tls::client::load(options, Scheme::Quic)?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(limits(WINDOW_BYTES, WINDOW_BYTES)));
    Ok(config)
}

/// What a listener accepts with.
///
/// # Errors
///
/// In words: TLS 1.3 is not among the versions.
pub(crate) fn accept_with(
    tls: Arc<rustls::ServerConfig>,
    listener: &ListenerConfig,
) -> Result<quinn::ServerConfig, String> {
    if !listener.tls_versions.contains(&TlsVersion::Tls13) {
        return Err("QUIC has TLS 1.3 alone: name \"1.3\" in `tls_versions`".to_owned());
    }
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let crypto = bounded::Server::new(crypto, HANDSHAKE_BYTES);
    let mut limits = limits(
        listener.send_buffer_bytes.unwrap_or(WINDOW_BYTES),
        listener.receive_buffer_bytes.unwrap_or(WINDOW_BYTES),
    );
    if let Some(seconds) = listener.tcp_keepalive_s {
        let seconds = seconds.max(1);
        limits.keep_alive_interval(Some(Duration::from_secs(seconds.into())));
        // As long as three probes.
        let silence = VarInt::from_u32(seconds.saturating_mul(3_000));
        limits.max_idle_timeout(Some(IdleTimeout::from(silence)));
    }
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(limits))
        .max_incoming(WAITING_MAXIMUM)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING_BYTES * WAITING_MAXIMUM as u64);
    Ok(config)
}

/// One stream, and silence for as long as MQTT allows it.
fn limits(send_bytes: u32, receive_bytes: u32) -> TransportConfig {
    let mut limits = TransportConfig::default();
    limits
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .send_window(send_bytes.into())
        .stream_receive_window(VarInt::from_u32(receive_bytes))
        .receive_window(VarInt::from_u32(receive_bytes))
        .crypto_buffer_size(OVERTAKING_BYTES)
        .max_idle_timeout(None);
    limits
}
