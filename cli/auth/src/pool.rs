//! A bounded pool of plain threads for what would hold up a shard: hashing passwords, asking a
//! service. Needs no runtime, so that every runtime can use it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that do one job after the other. They end when the pool is dropped, after what is
/// queued.
#[derive(Debug)]
pub(crate) struct Pool {
    jobs: SyncSender<Job>,
}

/// What a job learns about its wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is to be done.
    InTime,
    /// It waited longer than anybody waits for it: saying so is all that is left to do.
    TooLate,
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

struct Job {
    queued: Instant,
    work: Box<dyn FnOnce(Turn) + Send>,
}

impl Pool {
    /// Starts `threads` threads. `queue_maximum` jobs may wait, each for `patience` at most.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub(crate) fn start(
        name: &str,
        threads: u16,
        queue_maximum: usize,
        patience: Duration,
    ) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(queue_maximum);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || work_off(&queue, patience))?;
        }
        Ok(Self { jobs })
    }

    /// Queues a job.
    ///
    /// # Errors
    ///
    /// So many are waiting already that it would have to wait too long.
    pub(crate) fn submit(&self, work: impl FnOnce(Turn) + Send + 'static) -> Result<(), Full> {
        let job = Job {
            queued: Instant::now(),
            work: Box::new(work),
        };
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Full),
        }
    }
}

fn work_off(queue: &Mutex<Receiver<Job>>, patience: Duration) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { queued, work }) = next else {
            return;
        };
        let turn = if queued.elapsed() <= patience {
            Turn::InTime
        } else {
            Turn::TooLate
        };
        // The client is refused because its answer is dropped; the others go on.
        if catch_unwind(AssertUnwindSafe(|| work(turn))).is_err() {
            tracing::error!("a check of credentials has crashed; its client is refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_full_queue_is_told_and_nothing_is_lost() {
        let pool = Pool::start("test", 1, 2, Duration::MAX).unwrap();
        let (release, wait) = channel::<()>();
        let (started, is_started) = channel();
        let (done, results) = channel();
        pool.submit(move |_| {
            started.send(()).unwrap();
            wait.recv().unwrap();
        })
        .unwrap();
        is_started.recv().unwrap();
        for number in 0..2 {
            let done = done.clone();
            pool.submit(move |turn| done.send((number, turn)).unwrap())
                .unwrap();
        }
        assert_eq!(pool.submit(|_| ()), Err(Full));
        release.send(()).unwrap();
        let expected = [(0, Turn::InTime), (1, Turn::InTime)];
        assert_eq!(results.iter().take(2).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_job_that_waited_too_long_is_told() {
        let pool = Pool::start("test", 1, 1, Duration::ZERO).unwrap();
        let (done, results) = channel();
        pool.submit(move |turn| done.send(turn).unwrap()).unwrap();
        assert_eq!(results.recv(), Ok(Turn::TooLate));
    }

    #[test]
    fn a_job_that_panics_takes_nobody_with_it() {
        let pool = Pool::start("test", 1, 2, Duration::MAX).unwrap();
        let (done, results) = channel();
        let answer = done.clone();
        pool.submit(move |_| {
            let _answer = answer;
            panic!("a bug");
        })
        .unwrap();
        pool.submit(move |turn| done.send(turn).unwrap()).unwrap();
        assert_eq!(results.recv(), Ok(Turn::InTime));
        assert!(results.recv().is_err(), "the first was dropped unanswered");
    }
}
