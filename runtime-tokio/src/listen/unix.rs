//! Unix sockets: files that have an owner and permissions, that a crash leaves behind, and that a
//! broker removes when it stops.

use core::task::{Context, Poll, ready};
use std::io;
use std::os::unix::net;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};
use whimbrel_core::runtime::{ListenerConfig, SocketFile};
use whimbrel_host::listen::open_unix;

/// An open socket; clones share it. The last of them removes its file.
pub(super) struct Bound {
    socket: net::UnixListener,
    file: Arc<SocketFile>,
}

/// The same, watched by a runtime.
pub(super) struct Acceptor {
    socket: UnixListener,
    _file: Arc<SocketFile>,
}

impl Bound {
    /// Makes the file and listens.
    ///
    /// # Errors
    ///
    /// Something else is there, or what the system says.
    pub(super) fn open(config: &ListenerConfig) -> io::Result<Self> {
        let (socket, file) = open_unix(config)?;
        Ok(Self {
            socket,
            file: Arc::new(file),
        })
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            file: Arc::clone(&self.file),
        })
    }

    pub(super) fn into_acceptor(self) -> io::Result<Acceptor> {
        Ok(Acceptor {
            socket: UnixListener::from_std(self.socket)?,
            _file: self.file,
        })
    }
}

impl Acceptor {
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        let (stream, _) = ready!(self.socket.poll_accept(cx))?;
        Poll::Ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::bind;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use whimbrel_core::runtime::{FileMode, ListenerUrl};
    use whimbrel_host::Threads;

    /// A name that is free, in a directory of its own.
    fn directory(test: &str) -> PathBuf {
        let name = format!("whimbrel-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        directory
    }

    fn at(path: &Path) -> ListenerConfig {
        ListenerConfig {
            unix_mode: FileMode(0o606),
            ..ListenerConfig::new(ListenerUrl::unix(path.to_owned()))
        }
    }

    #[test]
    fn the_file_has_its_mode_and_goes_with_the_listener() {
        let directory = directory("mode");
        let path = directory.join("socket");
        let bound = bind(&at(&path), &Threads::default()).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o606);
        let clone = bound.try_clone().unwrap();
        drop(bound);
        net::UnixStream::connect(&path).unwrap();
        drop(clone);
        assert!(!path.exists());
        fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn stale_files_are_replaced_and_live_ones_are_not() {
        let directory = directory("stale");
        let path = directory.join("socket");
        let first = bind(&at(&path), &Threads::default()).unwrap();
        let error = bind(&at(&path), &Threads::default()).err().unwrap();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        // What a broker leaves behind that was killed.
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(bind(&at(&path), &Threads::default()).unwrap());
        // Something that is not ours to remove.
        fs::write(&path, "precious").unwrap();
        let error = bind(&at(&path), &Threads::default()).err().unwrap();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_successor_keeps_its_file() {
        let directory = directory("successor");
        let path = directory.join("socket");
        let first = bind(&at(&path), &Threads::default()).unwrap();
        fs::remove_file(&path).unwrap();
        let second = bind(&at(&path), &Threads::default()).unwrap();
        drop(first);
        net::UnixStream::connect(&path).unwrap();
        drop(second);
        fs::remove_dir(directory).unwrap();
    }
}
