//! The task behind a connection. The order is that of the loop in the core's contract: bytes and
//! requests in, outcomes out, then what is to be written, the timer last.

use super::{Config, Misuse};
use crate::transport::Transport;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf, split};
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::agent::LINGER;
use whimbrel_core::runtime::client::Ended;
use whimbrel_host::Clock;
use whimbrel_host::client::{Courier, Opening, open};

/// What one read takes.
const READ_BYTES: usize = 64 * 1_024;

/// Says that there are requests, or room for events.
#[derive(Debug, Default)]
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

#[derive(Debug)]
pub(super) struct Task {
    courier: Courier,
    clock: Clock,
    bell: Arc<Bell>,
}

impl Task {
    /// The task, and what its user waits for.
    ///
    /// # Errors
    ///
    /// What the configuration asks for cannot be said.
    pub(super) fn new(config: Config) -> Result<(Self, Opening), Misuse> {
        let (clock, bell) = (Clock::start(), Arc::<Bell>::default());
        let waker = Waker::from(Arc::clone(&bell));
        let (opening, courier) = open(config, clock.now().monotonic, waker)?;
        let task = Self {
            courier,
            clock,
            bell,
        };
        Ok((task, opening))
    }

    fn now(&self) -> Timestamp {
        self.clock.now().monotonic
    }

    pub(super) async fn run(mut self, transport: Transport) {
        let (mut reader, mut writer) = split(transport);
        self.courier.agent.connected(self.now());
        let mut arrived = vec![0; READ_BYTES];
        // The transport has taken everything, and may not have passed it on.
        let mut unflushed = false;
        loop {
            let now = self.now();
            self.courier.take_requests(now);
            if let Some(ended) = self.courier.report(now) {
                self.courier.agent.transmit_last();
                let last = finish(self.courier.agent.unwritten(), &mut writer);
                // Closed with anything unread the connection is reset, and the server might not
                // read what was just written.
                let drained = async {
                    let is_local = matches!(ended, Ended::Local);
                    while is_local && matches!(reader.read(&mut arrived).await, Ok(1..)) {}
                };
                let last = async { tokio::join!(last, drained) };
                // The server is not waited for any longer.
                let _ = timeout(LINGER, last).await;
                return self.courier.end(ended).await;
            }
            if self.courier.is_forsaken() {
                return;
            }
            let has_room = self.courier.has_room();
            let agent = &mut self.courier.agent;
            agent.transmit();
            let unwritten = agent.unwritten();
            let deadline = agent.next_deadline().map(|at| self.clock.instant(at));
            tokio::select! {
                read = reader.read(&mut arrived), if has_room && agent.reads() => match read {
                    Ok(len) => agent.receive(self.clock.now().monotonic, &arrived[..len]),
                    Err(error) => agent.lose(self.clock.now().monotonic, error),
                },
                wrote = push(&mut writer, unwritten),
                    if agent.is_open() && (!unwritten.is_empty() || unflushed) => {
                    match wrote {
                        Ok(len) => {
                            agent.wrote(len);
                            unflushed = len > 0;
                        }
                        Err(error) => agent.lose(self.clock.now().monotonic, error),
                    }
                }
                () = self.bell.0.notified() => {}
                () = sleep(deadline) => agent.advance(self.clock.now().monotonic),
            }
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

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => pending().await,
    }
}
