//! What a player needs of a broker: lines that take bytes and give bytes, and may be closed.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use whimbrel_core::codec::packet::Version;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, Protocol};
use whimbrel_core::{ConnectionId, Verdict};
use whimbrel_tests::World;

/// How long a running program may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Names one line of a venue.
pub(crate) type Line = usize;

/// A broker to play against.
pub(crate) trait Venue {
    /// A new transport connection.
    fn open(&mut self) -> Line;
    /// Sends bytes, as far as the broker still takes them.
    fn send(&mut self, line: Line, bytes: &[u8]);
    /// Bytes that came since; waits for some if there are none. Empty: there will be none.
    fn receive(&mut self, line: Line) -> Vec<u8>;
    /// Whether the broker has closed the connection; waits for it a while.
    fn is_closed(&mut self, line: Line) -> bool;
    /// Ends the connection without a word.
    fn cut(&mut self, line: Line);
}

/// The core, in a world.
#[derive(Default)]
pub(crate) struct Bottle {
    world: Option<World>,
    lines: Vec<ConnectionId>,
}

impl Bottle {
    fn world(&mut self) -> &mut World {
        self.world.get_or_insert_with(|| {
            let mut world = World::new(Config {
                // What the broker that the data comes from was configured with.
                protocol: Protocol {
                    topic_alias_maximum: 10,
                    maximum_packet_size: 2_000_000,
                    ..Protocol::default()
                },
                ..Config::default()
            });
            // Nobody here knows a method of enhanced authentication.
            world.judge(|credentials| {
                Some(match credentials.method {
                    Some(_) => Verdict::Refuse(ReasonCode::BAD_AUTHENTICATION_METHOD),
                    None => Verdict::accept(),
                })
            });
            world
        })
    }
}

impl Venue for Bottle {
    fn open(&mut self) -> Line {
        let connection = self.world().open();
        self.lines.push(connection);
        self.lines.len() - 1
    }

    fn send(&mut self, line: Line, bytes: &[u8]) {
        let connection = self.lines[line];
        self.world().send_bytes(connection, bytes);
    }

    fn receive(&mut self, line: Line) -> Vec<u8> {
        let connection = self.lines[line];
        self.world().set_version(connection, Version::V5);
        self.world().take_bytes(connection)
    }

    fn is_closed(&mut self, line: Line) -> bool {
        let connection = self.lines[line];
        self.world().is_closed(connection)
    }

    fn cut(&mut self, line: Line) {
        let connection = self.lines[line];
        self.world().cut(connection);
    }
}

/// A program can be played against by one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A running program.
pub(crate) struct Network {
    address: String,
    _alone: MutexGuard<'static, ()>,
    lines: Vec<(TcpStream, VecDeque<u8>, bool)>,
}

impl Network {
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
            lines: Vec::new(),
        }
    }

    /// Reads once. Whether anything came.
    fn read(&mut self, line: Line) -> bool {
        let (stream, inbox, is_closed) = &mut self.lines[line];
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => *is_closed = true,
            Ok(length) => {
                inbox.extend(&bytes[..length]);
                return true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => *is_closed = true,
        }
        false
    }
}

impl Venue for Network {
    fn open(&mut self) -> Line {
        let stream = TcpStream::connect(&self.address).expect("the program listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time-out can be set");
        stream.set_nodelay(true).expect("it can be set");
        self.lines.push((stream, VecDeque::new(), false));
        self.lines.len() - 1
    }

    fn send(&mut self, line: Line, bytes: &[u8]) {
        // A broker that has closed takes nothing more; that shows when reading.
        let _ = self.lines[line].0.write_all(bytes);
    }

    fn receive(&mut self, line: Line) -> Vec<u8> {
        if self.lines[line].1.is_empty() {
            self.read(line);
        }
        self.lines[line].1.drain(..).collect()
    }

    fn is_closed(&mut self, line: Line) -> bool {
        while !self.lines[line].2 && self.read(line) {}
        self.lines[line].2
    }

    fn cut(&mut self, line: Line) {
        let _ = self.lines[line].0.shutdown(Shutdown::Both);
    }
}
