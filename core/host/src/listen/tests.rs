//! Listening sockets, opened and closed.

use super::*;

fn open(config: &ListenerConfig) -> Result<Bound<Listening>, ListenError> {
    bind(config, |_| Listening::open(config))
}

fn any_port() -> ListenerConfig {
    ListenerConfig::at("127.0.0.1:0".parse().unwrap())
}

#[test]
fn an_address_in_use_is_named() {
    let first = open(&any_port()).unwrap();
    let again = ListenerConfig::new(first.url.clone());
    let error = open(&again).err().unwrap();
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(
        text.contains(&first.url.to_string()) && text.contains("in use"),
        "{text}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn connections_inherit_the_options() {
    let config = ListenerConfig {
        tcp_keepalive_s: Some(77),
        ..any_port()
    };
    let listener = open(&config).unwrap();
    let _client = std::net::TcpStream::connect(listener.url.address().unwrap()).unwrap();
    let Listening::Tcp(listener) = listener.socket else {
        panic!("a TCP socket");
    };
    listener.set_nonblocking(false).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let accepted = SockRef::from(&accepted);
    assert!(accepted.tcp_nodelay().unwrap());
    assert!(accepted.keepalive().unwrap());
    assert_eq!(accepted.tcp_keepalive_time().unwrap().as_secs(), 77);
}

#[test]
fn shared_ports_and_dual_stack_are_options() {
    let shared = ListenerConfig {
        reuse_port: true,
        ..any_port()
    };
    let first = open(&shared).unwrap();
    let again = ListenerConfig {
        url: first.url,
        ..shared
    };
    open(&again).unwrap();

    let Ok(dual) = open(&ListenerConfig::at("[::]:0".parse().unwrap())) else {
        return; // a machine without IPv6
    };
    let port = dual.url.address().unwrap().port();
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net;
    use std::path::{Path, PathBuf};
    use whimbrel_core::runtime::FileMode;

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
        let bound = open(&at(&path)).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o606);
        let clone = bound.socket.try_clone().unwrap();
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
        let first = open(&at(&path)).unwrap();
        let error = open(&at(&path)).err().unwrap();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        // What a broker leaves behind that was killed.
        drop(net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(open(&at(&path)).unwrap());
        // Something that is not ours to remove.
        fs::write(&path, "precious").unwrap();
        let error = open(&at(&path)).err().unwrap();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_successor_keeps_its_file() {
        let directory = directory("successor");
        let path = directory.join("socket");
        let first = open(&at(&path)).unwrap();
        fs::remove_file(&path).unwrap();
        let second = open(&at(&path)).unwrap();
        drop(first);
        net::UnixStream::connect(&path).unwrap();
        drop(second);
        fs::remove_dir(directory).unwrap();
    }
}
