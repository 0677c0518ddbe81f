//! Tells the service manager how it goes, by systemd's protocol: a datagram to the socket that
//! `NOTIFY_SOCKET` names. Where there is no such manager nothing happens.

use crate::runtime::{Handle, sleep};
use core::time::Duration;
use std::ffi::OsStr;

/// Sends one line, such as `READY=1`.
#[cfg(unix)]
pub(crate) fn notify(state: &str) {
    use std::os::unix::net::UnixDatagram;
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    // A manager that does not listen is none.
    let _ = UnixDatagram::unbound().and_then(|socket| send(&socket, &path, state));
}

#[cfg(unix)]
fn send(
    socket: &std::os::unix::net::UnixDatagram,
    path: &OsStr,
    state: &str,
) -> std::io::Result<usize> {
    // A name that begins with @ is no file.
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::unix::ffi::OsStrExt::as_bytes(path).strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return socket.send_to_addr(state.as_bytes(), &address);
    }
    socket.send_to(state.as_bytes(), path)
}

/// Sends one line; here there is nobody to send it to.
#[cfg(not(unix))]
pub(crate) fn notify(_: &str) {}

/// Shows a watchdog, if one looks, that the broker still answers: twice in the time that it allows.
pub(crate) async fn feed_watchdog(broker: &Handle) {
    let Some(patience) = watchdog_patience(std::env::var_os("WATCHDOG_USEC").as_deref()) else {
        return core::future::pending().await;
    };
    loop {
        sleep(patience / 2).await;
        // A shard that hangs does not answer, and then neither do we.
        if broker.statistics().await.is_ok() {
            notify("WATCHDOG=1");
        }
    }
}

fn watchdog_patience(text: Option<&OsStr>) -> Option<Duration> {
    let microseconds = text?.to_str()?.parse().ok().filter(|us| *us > 0)?;
    Some(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_heeded_only_when_there_is_one() {
        let patience = |text: &str| watchdog_patience(Some(OsStr::new(text)));
        assert_eq!(patience("30000000"), Some(Duration::from_secs(30)));
        assert_eq!(patience("0"), None);
        assert_eq!(patience("soon"), None);
        assert_eq!(watchdog_patience(None), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn files_and_names_are_both_sockets() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};
        let name = format!("whimbrel-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        send(&socket, OsStr::new(&format!("@{name}")), "READY=1").unwrap();
        let file = std::env::temp_dir().join(&name);
        let other = UnixDatagram::bind(&file).unwrap();
        send(&socket, file.as_os_str(), "STOPPING=1").unwrap();
        std::fs::remove_file(&file).unwrap();
        let mut heard = [0; 16];
        let count = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..count], b"READY=1");
        let count = other.recv(&mut heard).unwrap();
        assert_eq!(&heard[..count], b"STOPPING=1");
    }
}
