//! What is spoken between a socket and MQTT: a PROXY header, TLS, WebSocket, each if the listener
//! or the URL of a server asks for it. One machine without I/O, [`Layers`], and beside it what a
//! listener lays on its connections and with which certificates, [`Security`].
//!
//! Bytes of the wire go in, bytes of MQTT come out, and back; sockets, threads and clocks are the
//! runtimes'. It is not in `whimbrel-core`, because TLS brings libraries that core is to do
//! without.

#![forbid(unsafe_code)]

pub mod client;
mod layered;
mod layers;
pub mod proxy;
#[cfg(feature = "quic")]
pub mod quic;
mod security;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "websocket")]
mod websocket;

pub use layered::Layered;
pub use layers::{Fault, Layers};
pub use security::{
    CertificateError, CertificateFinding, Certificates, Security, can, check_certificates,
    still_taken_by, without,
};
#[cfg(feature = "tls")]
pub use tls::facts::read as read_certificate;
