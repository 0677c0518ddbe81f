//! The task behind a connection. The order is that of the loop in the core's contract: bytes and
//! requests in, outcomes out, then what is to be written, the timer last.

use super::{Accepted, Ended, Event};
use crate::transport::Transport;
use std::future::pending;
use std::io;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep_until, timeout};
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::agent::{Agent, Answer, LINGER, Outcome, REQUESTS_AT_ONCE, Request};
use whimbrel_host::Clock;

/// What one read takes.
const READ_BYTES: usize = 64 * 1_024;

/// A request, and whom to tell the answer.
pub(super) type Command = (Request, oneshot::Sender<Answer>);

#[derive(Debug)]
pub(super) struct Task {
    pub(super) agent: Agent<oneshot::Sender<Answer>>,
    pub(super) clock: Clock,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<Event>,
    /// Until the server has accepted.
    pub(super) accepted: Option<oneshot::Sender<Accepted>>,
}

impl Task {
    fn now(&self) -> Timestamp {
        self.clock.now().monotonic
    }

    pub(super) async fn run(mut self, transport: Transport) {
        let (mut reader, mut writer) = split(transport);
        self.agent.connected(self.now());
        let mut arrived = vec![0; READ_BYTES];
        // The transport has taken everything, and may not have passed it on.
        let mut unflushed = false;
        loop {
            if let Some(ended) = self.report() {
                self.agent.transmit_last();
                let last = finish(self.agent.unwritten(), &mut writer);
                // The server is not waited for any longer.
                let _ = timeout(LINGER, last).await;
                let _ = self.events.send(Event::Ended(ended)).await;
                return;
            }
            self.agent.transmit();
            let unwritten = self.agent.unwritten();
            let reads = self.agent.reads() && self.has_room();
            let deadline = self.agent.next_deadline();
            let deadline = deadline.map(|at| self.clock.instant(at));
            tokio::select! {
                read = reader.read(&mut arrived), if reads => match read {
                    Ok(len) => self.agent.receive(self.now(), &arrived[..len]),
                    Err(error) => self.agent.lose(self.now(), error),
                },
                wrote = push(&mut writer, unwritten),
                    if self.agent.is_open() && (!unwritten.is_empty() || unflushed) => {
                    match wrote {
                        Ok(len) => {
                            self.agent.wrote(len);
                            unflushed = len > 0;
                        }
                        Err(error) => self.agent.lose(self.now(), error),
                    }
                }
                command = self.commands.recv(), if self.agent.has_room() => match command {
                    Some(command) => self.take_all(command),
                    None => return,
                },
                () = room_in(&self.events), if !self.has_room() => {}
                () = self.events.closed() => return,
                () = sleep(deadline) => self.agent.advance(self.now()),
            }
        }
    }

    /// Whether an event can be handed out.
    fn has_room(&self) -> bool {
        self.events.capacity() > 0
    }

    /// Hands out what has happened, as far as there is room. Gives the end when it comes.
    fn report(&mut self) -> Option<Ended> {
        while self.has_room() {
            // Whoever asked may have gone; should nobody listen, the task ends soon.
            match self.agent.poll_outcome(self.now())? {
                Outcome::Accepted(accepted) => {
                    self.accepted.take().map(|sender| sender.send(accepted));
                }
                Outcome::Answered(asker, answer) => drop(asker.send(answer)),
                Outcome::Event(Event::Ended(ended)) => return Some(ended),
                Outcome::Event(event) => drop(self.events.try_send(event)),
            }
        }
        None
    }

    /// Takes a command and some of those behind it.
    fn take_all(&mut self, first: Command) {
        self.take(first);
        for _ in 1..REQUESTS_AT_ONCE {
            if !self.agent.has_room() {
                return;
            }
            let Ok(command) = self.commands.try_recv() else {
                return;
            };
            self.take(command);
        }
    }

    fn take(&mut self, (request, asker): Command) {
        if let Some((asker, answer)) = self.agent.ask(self.now(), request, asker) {
            let _ = asker.send(answer);
        }
    }
}

/// Writes what is left, if there is still anything to write to.
async fn finish(unwritten: &[u8], writer: &mut WriteHalf<Transport>) {
    let _ = writer.write_all(unwritten).await;
    let _ = writer.shutdown().await;
}

/// Writes some of it, or passes on what was written when there is no more; how much.
async fn push(writer: &mut WriteHalf<Transport>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    writer.write(bytes).await
}

/// Waits until there is room for an event.
async fn room_in(events: &mpsc::Sender<Event>) {
    if events.reserve().await.is_err() {
        pending().await // Nobody listens, which is noticed elsewhere.
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => pending().await,
    }
}
