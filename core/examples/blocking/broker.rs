//! One thread owns the broker; every connection has one that reads and one that writes, which tell
//! it by one queue what has happened. No thread but these waits for a socket.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use whimbrel_core::{
    Action, Broker, Config, ConnectionId, Now, Peer, Timestamp, UnixTime, Verdict,
};

/// Reads of all connections that wait for the broker, at most; readers wait beyond that.
const INPUTS_MAXIMUM: usize = 256;

/// Whoever takes no bytes for so long is cut.
const PATIENCE: Duration = Duration::from_secs(10);

/// What connections tell the broker.
enum Input {
    Opened(TcpStream),
    Arrived(ConnectionId, Vec<u8>),
    Written(ConnectionId),
    Ended(ConnectionId),
}

type Inputs = SyncSender<Input>;

/// What the broker knows of a connection.
struct Connection {
    /// Takes what is to be written; ends when this is dropped.
    writer: Sender<Vec<u8>>,
    /// It has bytes that the peer has not taken.
    is_writing: bool,
    /// Tells the reader to go on.
    reader: Sender<()>,
    reader_waits: bool,
}

/// Serves everybody who connects.
///
/// # Errors
///
/// Nobody can connect any more.
pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    let (inputs, queue) = sync_channel(INPUTS_MAXIMUM);
    let sender = inputs.clone();
    thread::spawn(move || Server::new(sender).run(&queue));
    for stream in listener.incoming() {
        let opened = Input::Opened(stream?);
        inputs.send(opened).map_err(io::Error::other)?;
    }
    Ok(())
}

struct Server {
    broker: Broker,
    started: Instant,
    connections: HashMap<ConnectionId, Connection>,
    inputs: Inputs,
}

impl Server {
    fn new(inputs: Inputs) -> Self {
        let started = Instant::now();
        // A number that peers cannot guess.
        let seed = RandomState::new().hash_one(0);
        let broker = Broker::new(Config::default(), seed, now(started));
        Self {
            broker: broker.expect("the default configuration can run"),
            started,
            connections: HashMap::new(),
            inputs,
        }
    }

    /// The loop of the core's contract: inputs, actions, and last when to come back.
    fn run(mut self, queue: &Receiver<Input>) {
        loop {
            let time = now(self.started);
            let deadline = self.broker.next_deadline();
            let patience = deadline.map_or(Duration::MAX, |at| at.duration_from(time.monotonic));
            // Otherwise time has passed: the queue cannot end while this has a sender of it.
            if let Ok(input) = queue.recv_timeout(patience) {
                self.take(input);
            }
            self.broker.advance(now(self.started));
            while let Some(action) = self.broker.poll_action() {
                self.carry_out(action);
            }
        }
    }

    fn take(&mut self, input: Input) {
        let time = now(self.started);
        match input {
            Input::Opened(stream) => self.open(time, stream),
            Input::Arrived(id, bytes) => {
                self.broker.receive(time, id, &bytes);
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.reader_waits = true;
                }
                self.read_on(id);
            }
            Input::Written(id) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.is_writing = false;
                }
                self.send(id);
            }
            Input::Ended(id) => {
                self.broker.closed(time, id);
                self.connections.remove(&id);
            }
        }
    }

    /// Gives the connection to the broker and its two halves to threads.
    fn open(&mut self, time: Now, stream: TcpStream) {
        let (Ok(address), Ok(half)) = (stream.peer_addr(), stream.try_clone()) else {
            return; // It has gone already.
        };
        let peer = Peer {
            address: Some(address),
            ..Peer::default()
        };
        let id = self.broker.accept(time, peer);
        let (writer, outputs) = channel();
        let (reader, turns) = channel();
        let (read_inputs, write_inputs) = (self.inputs.clone(), self.inputs.clone());
        thread::spawn(move || read(id, half, &read_inputs, &turns));
        thread::spawn(move || write(id, stream, &write_inputs, &outputs));
        let connection = Connection {
            writer,
            reader,
            is_writing: false,
            reader_waits: false,
        };
        self.connections.insert(id, connection);
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send(id) => self.send(id),
            Action::Resume(id) => self.read_on(id),
            Action::Close {
                connection,
                last_bytes,
            } => {
                if let Some(connection) = self.connections.remove(&connection) {
                    let _ = connection.writer.send(last_bytes);
                }
            }
            Action::Authenticate { connection, .. } => {
                let (time, verdict) = (now(self.started), Verdict::accept());
                self.broker.authenticated(time, connection, verdict);
            }
            // Readers are asked for one read at a time; nothing is kept on disk, there are no other
            // shards, and nobody reads a log.
            Action::Pause(_)
            | Action::Persist(_)
            | Action::Load(_)
            | Action::Route { .. }
            | Action::HandOver { .. }
            | Action::Event(_) => {}
        }
    }

    /// Pulls what a connection may have, unless its peer has to take earlier bytes first: when it
    /// has, this is asked again.
    fn send(&mut self, id: ConnectionId) {
        let connection = self.connections.get_mut(&id);
        let Some(connection) = connection.filter(|connection| !connection.is_writing) else {
            return;
        };
        let (time, mut bytes) = (now(self.started), Vec::new());
        self.broker.transmit(time, id, &mut bytes);
        if !bytes.is_empty() {
            // They count until they are written.
            self.broker.blocked(time, id, bytes.len());
            connection.is_writing = connection.writer.send(bytes).is_ok();
        }
    }

    /// Lets the reader read again, unless the broker does not want to hear from it.
    fn read_on(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.reader_waits
            && !self.broker.is_paused(id)
        {
            connection.reader_waits = false;
            let _ = connection.reader.send(());
        }
    }
}

fn read(id: ConnectionId, mut half: TcpStream, inputs: &Inputs, turns: &Receiver<()>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = half.read(&mut buffer) {
        let arrived = Input::Arrived(id, buffer[..count].to_vec());
        if inputs.send(arrived).is_err() || turns.recv().is_err() {
            return;
        }
    }
    let _ = inputs.send(Input::Ended(id));
}

fn write(id: ConnectionId, mut stream: TcpStream, inputs: &Inputs, outputs: &Receiver<Vec<u8>>) {
    let _ = stream.set_write_timeout(Some(PATIENCE));
    for bytes in outputs {
        if stream.write_all(&bytes).is_err() || inputs.send(Input::Written(id)).is_err() {
            break;
        }
    }
    // Wakes the reader, which tells the end.
    let _ = stream.shutdown(Shutdown::Both);
}

fn now(started: Instant) -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Now {
        monotonic: Timestamp(milliseconds(started.elapsed())),
        wall: UnixTime(milliseconds(wall.unwrap_or_default())),
    }
}
