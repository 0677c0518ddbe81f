//! What this runtime gives a server: a thread and a current-thread runtime a shard.

use crate::client::{self, Connection, Events, OpenError};
use crate::farewell::Farewell;
use crate::listen::{Acceptor, Listening, bind};
use crate::outbox::{Outbox, Post};
use crate::ready::{ReadyList, Source};
use crate::recording::{Recorder, Shards};
use crate::shard::{Running, System};
use crate::timer::Timer;
use crate::transport::{Pipe, Transport, Watched};
use core::task::Waker;
use std::collections::VecDeque;
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::{self, ScopedJoinHandle};
use tokio::io::DuplexStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use whimbrel_core::id::PeerId;
use whimbrel_core::runtime::{ListenError, ListenerConfig, ServerConfig, StartError};
use whimbrel_core::{Action, Broker};
use whimbrel_host::listen::Bound;
use whimbrel_host::shard::{self, Seat, Shard};
use whimbrel_host::storage::{LogRequest, LogSender};
use whimbrel_host::{Beginning, Clock, Runtime, Threads};

/// Bytes that wait in each direction of an in-process connection, at most.
const IN_PROCESS_BYTES: usize = 64 << 10;

/// This runtime.
pub struct Tokio {
    ready: Vec<Arc<ReadyList>>,
    others: Vec<Outbox>,
    /// Of the shards that are not started, in order.
    ends: VecDeque<(mpsc::UnboundedReceiver<Post>, Farewell)>,
    /// Of the first shard, once it runs.
    runtime: Option<tokio::runtime::Handle>,
}

impl Runtime for Tokio {
    type Driver = System;
    type Listening = Listening;
    type Stream = DuplexStream;

    /// Lets shards reach each other.
    fn new(_: &ServerConfig, shards: u16) -> Result<Self, StartError> {
        let ready: Vec<Arc<ReadyList>> = (0..shards).map(|_| Arc::default()).collect();
        let wakers = ready.iter().map(|ready| ready.waker(Source::Inbox));
        let farewells = Farewell::party(wakers.collect());
        let (others, posts): (Vec<_>, Vec<_>) =
            farewells.iter().map(|_| mpsc::unbounded_channel()).unzip();
        Ok(Self {
            ready,
            others: others.into_iter().map(Outbox::new).collect(),
            ends: posts.into_iter().zip(farewells).collect(),
            runtime: None,
        })
    }

    fn begin(
        beginnings: Vec<Beginning>,
        clock: Clock,
        log: &LogSender,
    ) -> Result<Vec<Broker>, StartError> {
        let mut brokers = at_once(beginnings)?;
        introduce(&mut brokers, clock, log);
        Ok(brokers)
    }

    fn bell(&self, shard: u16) -> Waker {
        self.ready[usize::from(shard)].waker(Source::Inbox)
    }

    fn bind(
        &self,
        config: &ListenerConfig,
        threads: &Threads,
    ) -> Result<Bound<Listening>, ListenError> {
        bind(config, threads)
    }

    fn spawn(
        &mut self,
        seat: Seat<System>,
        listeners: &[Bound<Listening>],
    ) -> Result<(), StartError> {
        let (post, farewell) = self.ends.pop_front().expect("each shard is started once");
        let system = System {
            shard: seat.shard,
            ready: Arc::clone(&self.ready[usize::from(seat.shard)]),
            others: self.others.clone(),
        };
        let starting = Starting {
            system,
            post,
            farewell,
            listeners: listeners
                .iter()
                .map(|bound| bound.with(Listening::try_clone))
                .collect::<io::Result<_>>()?,
            seat,
        };
        let runtime = starting.spawn()?;
        self.runtime.get_or_insert(runtime);
        Ok(())
    }

    fn pair(&self) -> io::Result<(DuplexStream, Watched)> {
        let (ours, theirs) = tokio::io::duplex(IN_PROCESS_BYTES);
        let transport = Transport::Plain(Pipe::Memory(Box::new(theirs)));
        Ok((ours, transport.into()))
    }

    async fn connect(
        &self,
        stream: DuplexStream,
        config: client::Config,
    ) -> Result<(Connection, Events), OpenError> {
        let runtime = self.runtime.as_ref();
        let runtime = runtime.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let transport = Transport::Plain(Pipe::Memory(Box::new(stream)));
        client::over(transport, config, runtime).await
    }
}

/// Makes the brokers, each on a thread of its own: with many sessions that takes seconds.
fn at_once(beginnings: Vec<Beginning>) -> Result<Vec<Broker>, StartError> {
    thread::scope(|scope| {
        let threads = (beginnings.into_iter())
            .map(|beginning| thread::Builder::new().spawn_scoped(scope, || beginning.broker()))
            .collect::<Result<Vec<_>, _>>()?;
        let joined = threads.into_iter().map(ScopedJoinHandle::join);
        joined
            .map(|broker| Ok(broker.unwrap_or_else(|panic| resume_unwind(panic))?))
            .collect()
    })
}

/// Before anybody can connect, every shard hears what the others want, and the log what they have
/// to say at the start.
fn introduce(brokers: &mut [Broker], clock: Clock, log: &LogSender) {
    loop {
        let mut letters = Vec::new();
        for (broker, shard) in brokers.iter_mut().zip(0..) {
            while let Some(action) = broker.poll_action() {
                match action {
                    Action::Route { to, letter } => letters.push((PeerId(shard), to, letter)),
                    // Its thread is not there yet; what it is to do is.
                    Action::Persist(batch) => {
                        let _ = log.send(shard, LogRequest::Append(batch));
                    }
                    Action::Load(message) => {
                        let _ = log.send(shard, LogRequest::Load(message));
                    }
                    // There is no connection yet, and nobody who listens to events.
                    Action::Send(_)
                    | Action::Pause(_)
                    | Action::Resume(_)
                    | Action::Close { .. }
                    | Action::Authenticate { .. }
                    | Action::HandOver { .. }
                    | Action::Event(_) => {}
                }
            }
        }
        if letters.is_empty() {
            return;
        }
        for (from, to, letter) in letters {
            if let Some(broker) = brokers.get_mut(usize::from(to.0)) {
                broker.routed(clock.now(), from, letter);
            }
        }
    }
}

/// A shard on its way to its thread.
struct Starting {
    seat: Seat<System>,
    system: System,
    listeners: Vec<Bound<Listening>>,
    post: mpsc::UnboundedReceiver<Post>,
    farewell: Farewell,
}

impl Starting {
    /// Starts the thread, and waits until it serves.
    fn spawn(self) -> Result<tokio::runtime::Handle, StartError> {
        let (started, result) = std_mpsc::sync_channel(1);
        let (threads, shard) = (self.seat.threads.clone(), self.seat.shard);
        threads.spawn(&format!("whimbrel-{shard}"), shard, move || {
            let runtime = match Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()
            {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error.into()))),
            };
            let handle = runtime.handle().clone();
            // The shard bounds its turns by itself; tokio's budget would make it see sockets as not
            // ready that are.
            runtime.block_on(tokio::task::unconstrained(async move {
                match self.seated() {
                    Ok(running) => {
                        drop(started.send(Ok(handle)));
                        running.run().await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            }));
        })?;
        let ended = |_| Err(io::Error::other("the thread of a shard ended at once").into());
        result.recv().unwrap_or_else(ended)
    }

    /// Must be called inside the runtime that will run it.
    fn seated(self) -> Result<Running, StartError> {
        let ready = Arc::clone(&self.system.ready);
        let acceptors = self.listeners.into_iter().zip(0..).map(|(bound, number)| {
            let waker = ready.waker(Source::Ready(shard::Source::Listener(number)));
            bound.try_into(|socket| Acceptor::new(socket, waker))
        });
        let acceptors = acceptors.collect::<io::Result<Vec<_>>>()?;
        let (config, threads) = (Arc::clone(&self.seat.config), self.seat.threads.clone());
        let timer = Timer::new(self.seat.clock, ready.waker(Source::Timer));
        let number = self.seat.shard;
        let shards = Shards {
            this: number,
            count: self.system.others.len().max(1) as u64,
        };
        let mut shard = Shard::new(self.seat, self.system, acceptors)?;
        let recorder = config.recording.as_ref().map(|recording| {
            let recorder = Recorder::start(recording, shards, &mut shard.broker, &threads);
            recorder.map_err(|source| StartError::Recording {
                file: recording.file.clone(),
                source,
            })
        });
        Ok(Running {
            recorder: recorder.transpose()?,
            shard,
            post: self.post,
            post_waker: ready.waker(Source::Post),
            timer,
            farewell: self.farewell,
        })
    }
}

#[cfg(test)]
mod tests;
