//! The turn of `whimbrel-host`, over one poller and on one thread.
//!
//! There is no executor: the system reports who is ready, and the thread sleeps in that one call.

use crate::listen::Acceptor;
use crate::poll::{Bell, watch};
use crate::stream::Transport;
use core::num::NonZeroUsize;
use core::time::Duration;
use polling::Events;
use std::io;
use std::sync::Arc;
use whimbrel_core::Broker;
use whimbrel_core::id::PeerId;
use whimbrel_core::letter::Letter;
use whimbrel_host::shard::{Driver, Moving, Shard, Source};
use whimbrel_host::socket::Interest;

/// Reports that the system gives at once.
const EVENTS_PER_TURN: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");

/// What the shard needs of the system.
#[derive(Debug)]
pub struct System(pub(crate) Arc<Bell>);

impl Driver for System {
    type Broker = Box<Broker>;
    type Transport = Transport;
    type Acceptor = Acceptor;

    const IS_LEVEL: bool = true;
    const WRITE_BUFFER_KEPT_BYTES: usize = 64 << 10;
    const LINGERING_MAXIMUM: usize = 1_024;

    fn watch(
        &mut self,
        transport: &mut Transport,
        source: Source,
        before: Option<Interest>,
        wanted: Interest,
    ) -> io::Result<()> {
        watch(&self.0.0, &transport.pipe, key_of(source), before, wanted)
    }

    fn send(&mut self, _: PeerId, _: Letter) {
        unreachable!("a broker that has no peers has nothing for them");
    }

    fn hand_over(&mut self, _: PeerId, _: Moving<Transport>) {
        unreachable!("a broker that has no peers has nothing for them");
    }
}

/// Runs until it is told to stop.
pub(crate) fn run(mut shard: Shard<System>) {
    let bell = Arc::clone(&shard.driver.0);
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    loop {
        shard.begin();
        for event in events.iter() {
            shard.serve(source_of(event.key), event.readable, event.writable);
        }
        shard.finish();
        if shard.has_stopped() {
            return;
        }
        let patience = match shard.next_deadline() {
            _ if shard.is_busy() => Some(Duration::ZERO),
            deadline => deadline.map(|at| at.duration_from(shard.now().monotonic)),
        };
        events.clear();
        match bell.0.wait(&mut events, patience) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("the system's event queue has failed: {error}"),
        }
    }
}

/// What a source is called in the poller: two bits say what it is, the rest which.
pub(crate) const fn key_of(source: Source) -> usize {
    match source {
        Source::Listener(number) => (number as usize) << 2,
        Source::Connection(slot) => (slot as usize) << 2 | 1,
        Source::Lingering(number) => (number as usize) << 2 | 2,
    }
}

const fn source_of(key: usize) -> Source {
    let number = key >> 2;
    match key & 3 {
        0 => Source::Listener(number as u16),
        1 => Source::Connection(number as u32),
        _ => Source::Lingering(number as u32),
    }
}
