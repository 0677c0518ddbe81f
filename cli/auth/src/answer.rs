//! An answer that comes later from another thread: a channel for one value whose end is a future of
//! no particular runtime.

use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the answer goes. Dropped without one, it tells that none will come.
pub(crate) struct Sender<T>(Arc<Mutex<Slot<T>>>);

/// The answer; `None` when none will come.
pub(crate) struct Answer<T>(Arc<Mutex<Slot<T>>>);

struct Slot<T> {
    value: Option<T>,
    is_closed: bool,
    waker: Option<Waker>,
}

/// Both ends.
pub(crate) fn channel<T>() -> (Sender<T>, Answer<T>) {
    let slot = Arc::new(Mutex::new(Slot {
        value: None,
        is_closed: false,
        waker: None,
    }));
    (Sender(Arc::clone(&slot)), Answer(slot))
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sender<T> {
    /// Answers.
    pub(crate) fn send(self, value: T) {
        lock(&self.0).value = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.is_closed = true;
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = lock(&self.0);
        if slot.is_closed {
            return Poll::Ready(slot.value.take());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::pin::pin;
    use std::task::Wake;
    use std::thread;

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(answer: Answer<T>) -> Option<T> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut answer = pin!(answer);
        loop {
            match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(value) => return value,
                Poll::Pending => thread::park(),
            }
        }
    }

    #[test]
    fn an_answer_comes_from_another_thread() {
        for _ in 0..100 {
            let (sender, answer) = channel();
            let thread = thread::spawn(move || sender.send(7));
            assert_eq!(wait(answer), Some(7));
            thread.join().unwrap();
        }
    }

    #[test]
    fn that_none_will_come_is_told() {
        let (sender, answer) = channel::<u8>();
        let thread = thread::spawn(move || drop(sender));
        assert_eq!(wait(answer), None);
        thread.join().unwrap();
    }
}
