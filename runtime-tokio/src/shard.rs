//! The turn of `whimbrel-host`, as one task on one thread, with other shards beside it.
//!
//! Shards share nothing but the log. What one has for another, letters and connections, goes into
//! the other's post: a queue that neither waits for.

use crate::farewell::Farewell;
use crate::listen::Acceptor;
use crate::outbox::{Outbox, Post};
use crate::ready::{ReadyList, Source};
use crate::recording::Recorder;
use crate::timer::Timer;
use crate::transport::Watched;
use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::warn;
use whimbrel_core::Timestamp;
use whimbrel_core::id::PeerId;
use whimbrel_core::letter::Letter;
use whimbrel_core::recording::RecordedBroker;
use whimbrel_host::shard::{self, Driver, Moving, Shard};
use whimbrel_host::socket::Interest;

/// Letters and connections of other shards that are taken in one turn.
const LETTERS_PER_TURN: usize = 64;

/// How long a shard that has nothing left to do waits for the others, in milliseconds, beyond the
/// time that a stop may take: it is there for a shard that hangs.
const FAREWELL_MS: u64 = 1_000;

/// How long nobody is accepted when there are more newcomers than shards take in; a shard takes in
/// thousands meanwhile.
const CROWDED_MS: u64 = 5;

/// What a shard needs of tokio, and of the other shards.
pub struct System {
    /// Which of the server's shards this is.
    pub(crate) shard: u16,
    pub(crate) ready: Arc<ReadyList>,
    /// Where to send what is for the others, by their numbers.
    pub(crate) others: Vec<Outbox>,
}

impl Driver for System {
    type Broker = RecordedBroker;
    type Transport = Watched;
    type Acceptor = Acceptor;

    const IS_LEVEL: bool = false;
    const WRITE_BUFFER_KEPT_BYTES: usize = 256 << 10;
    const LINGERING_MAXIMUM: usize = 16_384;

    fn watch(
        &mut self,
        transport: &mut Watched,
        source: shard::Source,
        before: Option<Interest>,
        _: Interest,
    ) -> io::Result<()> {
        if before.is_none() {
            transport.wake(self.ready.waker(Source::Ready(source)));
        }
        Ok(())
    }

    fn send(&mut self, to: PeerId, letter: Letter) {
        if let Some(other) = self.others.get(usize::from(to.0)) {
            other.send(Post::Letter(PeerId(self.shard), letter));
        }
    }

    fn hand_over(&mut self, to: PeerId, moving: Moving<Watched>) {
        if let Some(other) = self.others.get(usize::from(to.0)) {
            other.send(Post::Connection(Box::new(moving), other.set_out()));
        }
    }
}

/// A shard as it runs, with what only this runtime has.
pub(crate) struct Running {
    pub(crate) shard: Shard<System>,
    pub(crate) recorder: Option<Recorder>,
    /// What other shards send.
    pub(crate) post: mpsc::UnboundedReceiver<Post>,
    pub(crate) post_waker: Waker,
    pub(crate) timer: Timer,
    pub(crate) farewell: Farewell,
}

impl Running {
    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self) {
        let ready = Arc::clone(&self.shard.driver.ready);
        // The first turn makes every source know its waker.
        let (mut sources, mut turns_unseen) = (vec![Source::Post], 0);
        loop {
            let is_busy = self.turn(&mut sources);
            if self.is_finished() {
                return self.shard.broker.end_recording();
            }
            ready.wait(&mut sources, is_busy, &mut turns_unseen).await;
        }
    }

    /// Whether something was left over.
    fn turn(&mut self, sources: &mut Vec<Source>) -> bool {
        let mut is_busy = false;
        self.shard.begin();
        for source in sources.drain(..) {
            match source {
                // Looked at in every turn; the wake-up was all.
                Source::Inbox => {}
                Source::Timer => self.timer.fired(),
                Source::Post => is_busy |= self.take_post(),
                Source::Ready(source) => self.shard.serve(source, true, true),
            }
        }
        if is_busy {
            sources.push(Source::Post);
            self.shard.come_back();
        }
        if self.shard.driver.others.iter().any(Outbox::is_crowded) {
            self.shard.rest_listeners(CROWDED_MS);
        }
        self.shard.finish();
        // Last, what was recorded, and when to come back.
        let now = self.shard.now().monotonic;
        let recorder = self.recorder.as_mut();
        let flush_at = recorder
            .and_then(|recorder| recorder.hand_over(&mut self.shard.broker, now.0))
            .map(Timestamp);
        let farewell = match self.farewell.has_left() {
            false => None,
            true => self.shard.stopping_until(),
        };
        let farewell = farewell.map(|until| until.after_ms(FAREWELL_MS));
        let deadlines = farewell.into_iter().chain(flush_at);
        match deadlines.chain(self.shard.next_deadline()).min() {
            None => {}
            Some(deadline) if deadline <= now => is_busy = true,
            Some(deadline) => self.timer.arm(deadline),
        }
        is_busy || self.shard.is_busy()
    }

    /// Whether this was the last turn. What a shard says last, such as wills, others have to hear:
    /// they leave together.
    fn is_finished(&mut self) -> bool {
        if !self.shard.has_stopped() {
            return false;
        }
        if self.farewell.leave() {
            while let Ok(post) = self.post.try_recv() {
                self.take(post);
            }
            self.shard.drain_all();
            return true;
        }
        let until = self.shard.stopping_until();
        until.is_some_and(|until| until.after_ms(FAREWELL_MS) <= self.shard.now().monotonic)
    }

    /// Whether some is left.
    fn take_post(&mut self) -> bool {
        for _ in 0..LETTERS_PER_TURN {
            let mut cx = Context::from_waker(&self.post_waker);
            let Poll::Ready(Some(post)) = self.post.poll_recv(&mut cx) else {
                return false;
            };
            self.take(post);
        }
        true
    }

    fn take(&mut self, post: Post) {
        match post {
            Post::Letter(from, letter) => {
                let now = self.shard.now();
                self.shard.broker.routed(now, from, letter);
            }
            Post::Connection(moving, _on_its_way) => match moving.transport.moved() {
                Ok(transport) => self.shard.adopt(Moving {
                    transport,
                    ..*moving
                }),
                Err(error) => {
                    warn!(%error, "a connection could not change its thread");
                    self.shard.adopt_lost(moving.peer);
                }
            },
        }
    }
}

/// What was recorded is kept also when it ends by a panic: that is when it is wanted.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.finish(&mut self.shard.broker);
        }
    }
}
