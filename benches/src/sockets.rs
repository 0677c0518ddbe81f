//! What the bare loops have in common that programs are measured against.

use mio::net::{TcpListener, TcpStream};
use std::io::{self, ErrorKind};

/// The next connection, sent to without delay; `None` when nobody else is waiting.
///
/// # Errors
///
/// The listener is broken, or there are no descriptors left.
pub fn accepted(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nodelay(true)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
