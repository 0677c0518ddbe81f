//! Whether peers that are not read are still there.
//!
//! The end of a connection is found by reading it. Who is paused, or waits for the log, is not
//! read, perhaps for as long as a disk is full; meanwhile its peer may be gone, and the descriptor,
//! the session and the will would wait for nobody.

use whimbrel_core::Timestamp;

/// How often those who are not read are looked at, in milliseconds.
pub const LOOK_MS: u64 = 10_000;

/// When to look at those who are not read. Whoever is not to be read from one look to the next and
/// has left by the second is gone: what it had sent and was not read is lost, as if the network had
/// lost it. Mostly pausing ends before, and nothing is lost.
#[derive(Debug, Default)]
pub struct Looks {
    next: Option<Timestamp>,
}

impl Looks {
    /// Somebody is not read now.
    pub fn ask(&mut self, now: Timestamp) {
        if self.next.is_none() {
            self.next = Some(now.after_ms(LOOK_MS));
        }
    }

    /// When to look, if anybody is not read.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Timestamp> {
        self.next
    }

    /// Whether to look now. Whoever looks asks again, should it find somebody.
    pub fn is_due(&mut self, now: Timestamp) -> bool {
        self.next.take_if(|next| *next <= now).is_some()
    }
}

/// Whether the peer of a socket says nothing more, or is not there at all. Bytes may be left to be
/// read.
#[cfg(unix)]
#[must_use]
pub fn has_left(socket: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    // The end and errors are always reported; that the peer says no more, where it can be asked.
    #[cfg(target_os = "linux")]
    let wanted = PollFlags::RDHUP;
    #[cfg(not(target_os = "linux"))]
    let wanted = PollFlags::empty();
    let mut asked = [PollFd::new(socket, wanted)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_looked_at_before_its_time() {
        let mut looks = Looks::default();
        assert!(!looks.is_due(Timestamp(99)));
        looks.ask(Timestamp(1));
        looks.ask(Timestamp(5));
        assert_eq!(looks.next_deadline(), Some(Timestamp(1 + LOOK_MS)));
        assert!(!looks.is_due(Timestamp(LOOK_MS)));
        assert!(looks.is_due(Timestamp(1 + LOOK_MS)));
        assert_eq!(looks.next_deadline(), None);
    }

    #[cfg(unix)]
    #[test]
    fn the_end_is_seen_behind_bytes_that_nobody_reads() {
        use std::io::Write;
        use std::net::{Shutdown, TcpListener, TcpStream};
        use std::os::unix::net::UnixStream;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        peer.write_all(b"unread").unwrap();
        assert!(!has_left(&ours));
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(has_left(&ours), cfg!(target_os = "linux"));

        let (ours, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"unread").unwrap();
        assert!(!has_left(&ours));
        drop(peer);
        assert!(has_left(&ours));
    }
}
