//! The threads of one broker, and how they ended.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use whimbrel_core::runtime::Crashed;

/// Starts threads, and tells whoever waits for it when the last has ended: as often as it is asked
/// the same. Nobody joins them, so nobody blocks who must not.
#[derive(Clone, Debug, Default)]
pub struct Threads(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    all_ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// The first that did not end in order.
    crashed: Option<Crashed>,
    /// Who waits for the end, by number.
    waiting: Vec<(u64, Waker)>,
    last_number: u64,
}

impl Threads {
    /// Starts one. Should it panic, that is told as the crash of this shard.
    ///
    /// # Errors
    ///
    /// The system gives no thread; `work` is dropped.
    pub fn spawn(
        &self,
        name: &str,
        shard: u16,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.lock().running += 1;
        let ours = self.clone();
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            ours.leave(result.map_err(|panic| Crashed::by(shard, &*panic)));
        });
        if spawned.is_err() {
            self.leave(Ok(()));
        }
        spawned.map(drop)
    }

    /// Tells that the broker could not go on, though no thread has panicked.
    pub fn fail(&self, why: Crashed) {
        self.lock().crashed.get_or_insert(why);
    }

    /// Waits until all have ended.
    ///
    /// # Errors
    ///
    /// What was the first to go wrong.
    pub async fn ended(&self) -> Result<(), Crashed> {
        let mut place = Place {
            threads: self,
            number: None,
        };
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.running == 0 {
                return Poll::Ready(state.result());
            }
            let number = *place.number.get_or_insert_with(|| {
                state.last_number += 1;
                state.last_number
            });
            match state.waiting.iter_mut().find(|(other, _)| *other == number) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => state.waiting.push((number, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await
    }

    /// The same, for who may block.
    ///
    /// # Errors
    ///
    /// What was the first to go wrong.
    pub fn wait(&self) -> Result<(), Crashed> {
        let ended = self
            .0
            .all_ended
            .wait_while(self.lock(), |state| state.running > 0);
        ended.unwrap_or_else(PoisonError::into_inner).result()
    }

    fn leave(&self, result: Result<(), Crashed>) {
        let mut state = self.lock();
        state.running -= 1;
        if let Err(crashed) = result {
            state.crashed.get_or_insert(crashed);
        }
        if state.running == 0 {
            let waiting = core::mem::take(&mut state.waiting);
            drop(state);
            self.0.all_ended.notify_all();
            waiting.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain values are whole whatever happened to the thread that held the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn result(&self) -> Result<(), Crashed> {
        self.crashed.clone().map_or(Ok(()), Err)
    }
}

/// Somebody who waits, until that future is dropped.
struct Place<'a> {
    threads: &'a Threads,
    number: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waiting = &mut self.threads.lock().waiting;
            waiting.retain(|(other, _)| *other != number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::pin::pin;
    use core::task::Context;
    use std::sync::mpsc;

    #[test]
    fn everybody_hears_how_the_threads_ended_and_not_before_the_last() {
        let threads = Threads::default();
        let (end, told_to_end) = mpsc::channel::<()>();
        threads.spawn("fails", 7, || panic!("on purpose")).unwrap();
        threads
            .spawn("stays", 0, move || {
                let _ = told_to_end.recv();
            })
            .unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (pin!(threads.ended()), pin!(threads.ended()));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        drop(end);
        let crashed = Crashed {
            shard: 7,
            message: "on purpose".to_owned(),
        };
        assert_eq!(threads.wait(), Err(crashed.clone()));
        for waiting in [first, second] {
            assert_eq!(waiting.poll(&mut cx), Poll::Ready(Err(crashed.clone())));
        }
        assert!(threads.lock().waiting.is_empty());
    }
}
