//! The way from one shard to another.
//!
//! Letters are bounded by the core. Connections are not: whoever connects chooses, by its client
//! identifier, which shard it goes to, before it has shown anything. So those on their way are
//! counted, and while there are many nobody is accepted: newcomers wait where they cost this
//! program nothing.

use crate::transport::Watched;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use tokio::sync::mpsc;
use whimbrel_core::id::PeerId;
use whimbrel_core::letter::Letter;
use whimbrel_host::shard::Moving;

/// Connections that may be on their way to one shard before the others accept no more: many turns'
/// worth, so a storm of clients that come back does not reach it while everybody works.
const MOVING_MAXIMUM: usize = 4_096;

/// What shards send each other. The core bounds how many letters are on their way.
pub(crate) enum Post {
    /// What one tells the other.
    Letter(PeerId, Letter),
    /// A connection that asks for a session of the receiver.
    Connection(Box<Moving<Watched>>, OnItsWay),
}

/// Where to send what is for another shard.
#[derive(Clone)]
pub(crate) struct Outbox {
    post: mpsc::UnboundedSender<Post>,
    moving: Arc<AtomicUsize>,
}

/// A connection is on its way, until this is dropped.
pub(crate) struct OnItsWay(Arc<AtomicUsize>);

impl Outbox {
    pub(crate) fn new(post: mpsc::UnboundedSender<Post>) -> Self {
        let moving = Arc::default();
        Self { post, moving }
    }

    /// Sends. A shard that is gone is missed by the server, which stops.
    pub(crate) fn send(&self, post: Post) {
        let _ = self.post.send(post);
    }

    /// Counts a connection that is about to be sent.
    pub(crate) fn set_out(&self) -> OnItsWay {
        self.moving.fetch_add(1, Ordering::Relaxed);
        OnItsWay(Arc::clone(&self.moving))
    }

    /// Whether so many connections are on their way that no more should come.
    pub(crate) fn is_crowded(&self) -> bool {
        self.moving.load(Ordering::Relaxed) >= MOVING_MAXIMUM
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_count_until_they_have_arrived_or_are_lost() {
        let outbox = Outbox::new(mpsc::unbounded_channel().0);
        let shared = outbox.clone();
        let mut moving: Vec<OnItsWay> = (0..MOVING_MAXIMUM).map(|_| outbox.set_out()).collect();
        assert!(shared.is_crowded());
        moving.pop();
        assert!(!shared.is_crowded());
        drop(moving);
        assert_eq!(shared.moving.load(Ordering::Relaxed), 0);
    }
}
