//! The bare loop: serves the same publishers over the same sockets, and does nothing with a message
//! but to append it to a file, sync, and acknowledge. What came while a sync ran is the next batch.
//!
//! It is what a broker could reach at most on this machine whose batches come about in the same
//! way.

use crate::disk::Disk;
use crate::{RECORD_BYTES, median};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use whimbrel_benches::sockets::accepted;
use whimbrel_core::codec::frame;

const LISTENER: Token = Token(usize::MAX);

/// The loop on a thread of its own.
pub(crate) struct Bare {
    pub(crate) address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<f64>>,
}

impl Bare {
    pub(crate) fn start(directory: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let (directory, until) = (PathBuf::from(directory), Arc::clone(&over));
        let thread = thread::spawn(move || serve(listener, &directory, &until));
        Ok(Self {
            address,
            over,
            thread,
        })
    }

    /// Stops, and tells the median time of one write and its sync in microseconds.
    pub(crate) fn stop(self) -> io::Result<f64> {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| io::Error::other("the bare loop"))?
    }
}

/// A connection, and the answers that it is owed.
struct Client {
    stream: TcpStream,
    answers: Vec<u8>,
}

fn serve(mut listener: TcpListener, directory: &Path, over: &AtomicBool) -> io::Result<f64> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1_024);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut disk = Disk::new(directory)?;
    let mut clients: Vec<Client> = Vec::new();
    let (mut buffer, mut batch, mut owed) = (vec![0; 64 << 10], Vec::new(), Vec::new());
    while !over.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(20)))?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let client = &mut clients[event.token().0];
            while let Some(count) = read(&mut client.stream, &mut buffer) {
                answer(&buffer[..count], &mut client.answers, &mut batch)?;
                owed.push(event.token().0);
                if count < buffer.len() {
                    break;
                }
            }
        }
        if !batch.is_empty() {
            disk.append(&batch)?;
            batch.clear();
        }
        for index in owed.drain(..) {
            let client = &mut clients[index];
            // Who has gone needs no answer.
            let _ = client.stream.write_all(&client.answers);
            client.answers.clear();
        }
    }
    Ok(median(core::mem::take(&mut disk.syncs_us)))
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Vec<Client>) -> io::Result<()> {
    while let Some(mut stream) = accepted(listener)? {
        let token = Token(clients.len());
        poll.registry()
            .register(&mut stream, token, Interest::READABLE)?;
        clients.push(Client {
            stream,
            answers: Vec::new(),
        });
    }
    Ok(())
}

/// `None` when there is nothing, or nobody any longer.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    let count = stream.read(buffer).ok()?;
    (count > 0).then_some(count)
}

/// These publishers send whole packets.
fn answer(mut bytes: &[u8], answers: &mut Vec<u8>, batch: &mut Vec<u8>) -> io::Result<()> {
    while let Ok(Some((packet, length))) = frame::split(bytes, u32::MAX) {
        let body = packet.body;
        match packet.first_byte {
            0x10 => answers.extend([0x20, 2, 0, 0]),
            0x82 => answers.extend([0x90, 3, body[0], body[1], 1]),
            0x32 => {
                let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                answers.extend([0x40, 2, body[at], body[at + 1]]);
                batch.resize(batch.len() + RECORD_BYTES, 0x5A);
            }
            other => return Err(io::Error::other(format!("a packet {other:#04x}"))),
        }
        bytes = &bytes[length..];
    }
    Ok(())
}
