//! How long a start takes with much to read, and how much room it takes on disk.

use crate::publishers::{connect, publish_packet, subscribe};
use crate::server::{Server, used};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

const SESSIONS: usize = 100_000;
const QUEUED: usize = 500_000;
const RETAINED: usize = 500_000;

/// Messages that are sent before their acknowledgements are read.
const WINDOW: usize = 500;

/// Fills a log, kills the broker, and starts it again.
pub(crate) fn measure(program: &Path, directory: &Path) -> io::Result<()> {
    let server = Server::start(program, directory)?;
    let filling = Instant::now();
    sessions(server.address)?;
    publish_many(server.address, QUEUED, |_| ("queued".to_owned(), false))?;
    let queued_bytes = used(&directory.join("data"))?;
    publish_many(server.address, RETAINED, |number| {
        (
            format!("retained/{}/{}", number % 1_000, number / 1_000),
            true,
        )
    })?;
    println!("filled in {:.1} s", filling.elapsed().as_secs_f64());
    println!(
        "{} bytes of files after {SESSIONS} sessions and {QUEUED} queued messages: {} a message",
        queued_bytes,
        queued_bytes / QUEUED as u64
    );
    let mut server = server;
    for _ in 0..3 {
        let data = server.kill();
        let bytes = used(&data)?;
        let began = Instant::now();
        server = Server::start_with(program, data)?;
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "started in {seconds:.2} s with {SESSIONS} sessions, {QUEUED} queued and {RETAINED} retained \
             messages; {bytes} bytes of files"
        );
    }
    Ok(())
}

/// Sessions that subscribe to a topic of their own and go; one of them to what is queued.
fn sessions(address: SocketAddr) -> io::Result<()> {
    subscribe(&mut connect(address, "away", true)?, "queued")?;
    let threads: Vec<_> = (0..64)
        .map(|thread| {
            std::thread::spawn(move || -> io::Result<()> {
                for number in (thread..SESSIONS).step_by(64) {
                    let name = format!("session-{number}");
                    let mut stream = connect(address, &name, true)?;
                    subscribe(&mut stream, &format!("own/{number}"))?;
                    stream.write_all(&[0xE0, 0])?;
                }
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a session"))??;
    }
    Ok(())
}

/// Publishes so many messages, each to a topic of its own choice and retained or not.
pub(crate) fn publish_many(
    address: SocketAddr,
    count: usize,
    what: impl Fn(usize) -> (String, bool),
) -> io::Result<()> {
    let mut stream = connect(address, "publisher", false)?;
    let mut acknowledgements = vec![0; WINDOW * 4];
    for first in (0..count).step_by(WINDOW) {
        let mut packets = Vec::new();
        for place in 0..WINDOW {
            let (topic, retain) = what(first + place);
            let id = place as u16 + 1;
            packets.extend(publish_packet(&topic, id, retain, crate::PAYLOAD_BYTES));
        }
        stream.write_all(&packets)?;
        stream.read_exact(&mut acknowledgements)?;
    }
    Ok(())
}
