//! Who has something to do: the list of sources that were woken since the last turn of a shard.
//!
//! A shard is one task. Each of its sources – a connection, a listener, the timer, … – has a waker
//! of its own that puts the source on this list and wakes the shard. So a connection costs a waker
//! of 48 bytes instead of a task of 256, everything woken by one system call is handled in one
//! turn, and the order of work inside the turn is the shard's own, not a scheduler's.

use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use whimbrel_host::shard;

/// Turns that follow each other without a look at the network, at most. Looking is a system call,
/// and what other threads have for a shard comes in many small pieces.
const TURNS_UNSEEN: u32 = 8;

/// Something that can wake a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Another thread has put something into the inbox, or asks the shard to stop.
    Inbox,
    /// Another shard has sent something.
    Post,
    /// The deadline has come.
    Timer,
    /// Something can be accepted, read or written.
    Ready(shard::Source),
}

/// The sources that were woken, in the order in which they were.
#[derive(Default)]
pub(crate) struct ReadyList {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    woken: Vec<Source>,
    shard: Option<Waker>,
}

impl ReadyList {
    /// A waker that puts `source` on this list.
    pub(crate) fn waker(self: &Arc<Self>, source: Source) -> Waker {
        Waker::from(Arc::new(SourceWaker {
            list: Arc::clone(self),
            source,
        }))
    }

    /// Moves what was woken to the end of `sources`; ready when that made it non-empty. The lock is
    /// never held while anything else runs.
    pub(crate) fn poll_take(&self, cx: &Context<'_>, sources: &mut Vec<Source>) -> Poll<()> {
        let mut state = self.lock();
        if sources.is_empty() {
            core::mem::swap(&mut state.woken, sources);
        } else {
            sources.append(&mut state.woken);
        }
        if !sources.is_empty() {
            return Poll::Ready(());
        }
        match &mut state.shard {
            Some(waker) => waker.clone_from(cx.waker()),
            waker @ None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until there are sources, or not at all for who has something left over. Before what is
    /// left over, and at the latest after [`TURNS_UNSEEN`] turns for which other threads woke it,
    /// the network and the clock are looked at: that happens only when the shard's task is pending.
    pub(crate) async fn wait(&self, sources: &mut Vec<Source>, busy: bool, turns_unseen: &mut u32) {
        *turns_unseen += 1;
        if busy || *turns_unseen > TURNS_UNSEEN {
            tokio::task::yield_now().await;
            *turns_unseen = 0;
        }
        poll_fn(|cx| match self.poll_take(cx, sources) {
            Poll::Pending if !busy => {
                *turns_unseen = 0;
                Poll::Pending
            }
            Poll::Pending | Poll::Ready(()) => Poll::Ready(()),
        })
        .await;
    }

    fn wake(&self, source: Source) {
        let mut state = self.lock();
        state.woken.push(source);
        let shard = state.shard.take();
        drop(state);
        if let Some(shard) = shard {
            shard.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A list of plain values is whole whatever happened to the thread that held the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SourceWaker {
    list: Arc<ReadyList>,
    source: Source,
}

impl Wake for SourceWaker {
    fn wake(self: Arc<Self>) {
        self.list.wake(self.source);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list.wake(self.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_shard_is_woken_once_for_all_that_happened() {
        let (list, count) = (Arc::new(ReadyList::default()), Arc::new(Count::default()));
        let shard = Waker::from(Arc::clone(&count));
        let mut sources = Vec::new();
        let poll =
            |sources: &mut Vec<Source>| list.poll_take(&Context::from_waker(&shard), sources);
        assert_eq!(poll(&mut sources), Poll::Pending);
        let connection = Source::Ready(shard::Source::Connection(7));
        list.waker(connection).wake();
        list.waker(Source::Timer).wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut sources), Poll::Ready(()));
        assert_eq!(sources, [connection, Source::Timer]);
        sources.clear();
        assert_eq!(
            poll(&mut sources),
            Poll::Pending,
            "nothing is reported twice"
        );
    }

    #[tokio::test]
    async fn who_is_woken_without_end_looks_at_the_network_all_the_same() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        std::io::Write::write_all(&mut peer, b"x").unwrap();

        let list = Arc::new(ReadyList::default());
        let (waker, mut sources, mut turns_unseen) = (list.waker(Source::Inbox), Vec::new(), 0);
        let reads = tokio::task::unconstrained(async {
            for turn in 0..10 * TURNS_UNSEEN {
                waker.wake_by_ref();
                list.wait(&mut sources, false, &mut turns_unseen).await;
                assert_eq!(sources, [Source::Inbox]);
                sources.clear();
                if stream.try_read(&mut [0]).is_ok() {
                    return Some(turn);
                }
            }
            None
        });
        let turn = reads.await;
        assert!(
            turn.is_some_and(|turn| turn <= TURNS_UNSEEN + 1),
            "{turn:?}"
        );
    }
}
