//! The files of Unix sockets: they have an owner and permissions, a crash leaves them behind, and a
//! broker removes them when it stops.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use whimbrel_core::runtime::ListenerConfig;

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

/// The file of a Unix socket, told from one that another broker has made there since. Dropping this
/// removes it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Makes room for the file, has `bind` make it, and gives it its owner and permissions: before
    /// anybody listens there, so that there is no moment with others.
    ///
    /// # Errors
    ///
    /// Something else is there, or what the system says.
    pub fn make(
        path: &Path,
        config: &ListenerConfig,
        bind: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Self> {
        let owner = config.unix_owner.as_deref().map(Owner::find).transpose()?;
        remove_stale(path)?;
        bind()?;
        let file = Self::of(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(config.unix_mode.0))?;
        if let Some(owner) = owner {
            chown(path, owner.user, owner.group)?;
        }
        Ok(file)
    }

    /// Whether one could be made, as far as that can be told without making it.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to do.
    pub fn check(path: &Path, config: &ListenerConfig) -> Result<(), String> {
        if net::SocketAddr::from_pathname(path).is_err() {
            let bytes = path.as_os_str().len();
            return Err(format!(
                "its path has {bytes} bytes, and systems take about 100; name a shorter one"
            ));
        }
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        if !directory.is_dir() {
            let directory = directory.display();
            return Err(format!(
                "there is no directory {directory}; make it, or name another"
            ));
        }
        let owner = config.unix_owner.as_deref().map(Owner::find).transpose();
        owner.map(drop).map_err(|why| format!("unix_owner: {why}"))
    }

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
