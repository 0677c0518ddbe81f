//! Unix sockets: files that have an owner and permissions, that a crash leaves behind, and that a
//! broker removes when it stops.

use super::{backlog, set_buffers};
use core::task::{Context, Poll, ready};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};
use whimbrel_core::runtime::ListenerConfig;

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
        let path = config.url.file().ok_or(io::ErrorKind::InvalidInput)?;
        let owner = config.unix_owner.as_deref().map(Owner::find).transpose()?;
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        set_buffers(&SockRef::from(&socket), config)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = Arc::new(SocketFile::of(path)?);
        // Nobody can connect before it listens, so there is no moment with other permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(config.unix_mode.0))?;
        if let Some(owner) = owner {
            chown(path, owner.user, owner.group)?;
        }
        socket.listen(backlog(config))?;
        let socket = socket.into();
        Ok(Self { socket, file })
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

/// Removes a socket that nobody listens at any more: a broker that was killed has left it behind.
///
/// # Errors
///
/// Somebody listens there, or it is not a socket at all.
fn remove_stale(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file of this name is there, and it is no socket; name another, or remove it",
        ));
    }
    match net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// The file of a socket, told from one that another broker has made there since.
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            // What is left is recognised by the next broker.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whom a file is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    user: Option<u32>,
    group: Option<u32>,
}

impl Owner {
    /// Understands `user`, `user:group` and `:group`.
    fn find(text: &str) -> io::Result<Self> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let user = Some(user).filter(|user| !user.is_empty());
        Ok(Self {
            user: user.map(|user| id_of(user, "/etc/passwd")).transpose()?,
            group: group.map(|group| id_of(group, "/etc/group")).transpose()?,
        })
    }
}

/// A number, or the number of a name in a file whose lines read `name:…:number:…`.
fn id_of(name: &str, file: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string(file)?;
    find_id(name, &text).ok_or_else(|| {
        let why = format!("\"{name}\" is not in {file}; write its number");
        io::Error::new(io::ErrorKind::NotFound, why)
    })
}

fn find_id(name: &str, text: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::bind;
    use whimbrel_core::runtime::{FileMode, ListenerUrl};

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
        let bound = bind(&at(&path)).unwrap();
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
        let first = bind(&at(&path)).unwrap();
        let error = bind(&at(&path)).err().unwrap();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        // What a broker leaves behind that was killed.
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(bind(&at(&path)).unwrap());
        // Something that is not ours to remove.
        fs::write(&path, "precious").unwrap();
        let error = bind(&at(&path)).err().unwrap();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_successor_keeps_its_file() {
        let directory = directory("successor");
        let path = directory.join("socket");
        let first = bind(&at(&path)).unwrap();
        fs::remove_file(&path).unwrap();
        let second = bind(&at(&path)).unwrap();
        drop(first);
        net::UnixStream::connect(&path).unwrap();
        drop(second);
        fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn owners_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nmqtt:x:901:902::/:/bin/false\n";
        assert_eq!(find_id("mqtt", passwd), Some(901));
        assert_eq!(find_id("mqt", passwd), None);
        let both = Owner {
            user: Some(1),
            group: Some(2),
        };
        assert_eq!(Owner::find("1:2").unwrap(), both);
        assert_eq!(Owner::find(":2").unwrap(), Owner { user: None, ..both });
        assert_eq!(
            Owner::find("1").unwrap(),
            Owner {
                group: None,
                ..both
            }
        );
        assert!(Owner::find("no such user").is_err());
    }
}
