//! The layers of a connection to a server.

use crate::Layers;
use crate::security::can;
use std::io;
use whimbrel_core::runtime::{Scheme, ServerUrl, TlsOptions};

/// The layers of a connection there, with what a client says first; `None` when there are none.
///
/// # Errors
///
/// Files that are not what they should be, or something that this build cannot.
#[cfg_attr(not(feature = "tls"), expect(unused_variables))]
pub fn layers(server: &ServerUrl, tls: &TlsOptions) -> io::Result<Option<(Layers, Vec<u8>)>> {
    let scheme = server.scheme();
    can(scheme)?;
    // The layers of QUIC are in the pipe.
    if scheme == Scheme::Quic || !scheme.has_tls() && !scheme.has_websocket() {
        return Ok(None);
    }
    let mut layers = Layers::default();
    #[cfg(feature = "tls")]
    if scheme.has_tls() {
        let name = server.host().to_owned().try_into();
        let name = name.map_err(io::Error::other)?;
        let config = crate::tls::client::load(tls, scheme).map_err(io::Error::other)?;
        layers.add_tls(crate::tls::Tls::client(config, name).map_err(io::Error::other)?);
    }
    #[cfg(feature = "websocket")]
    if scheme.has_websocket() {
        let dial = crate::websocket::Dial::new(&server.authority(), server.path());
        layers.add_websocket(crate::websocket::WebSocket::client(dial));
    }
    let mut first = Vec::new();
    layers.start(&mut first).map_err(io::Error::other)?;
    Ok(Some((layers, first)))
}
