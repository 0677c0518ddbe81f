//! Actors on a stage: each client lives on a thread of its own, connects again whenever its
//! connection ends, and writes what it was told into a ledger that the test can read at any time.

use crate::line::{Heard, Introduction, Line};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a client does.
pub(crate) trait Actor: Send + 'static {
    /// What it writes down.
    type Ledger: Clone + Default + Send + 'static;

    /// How it introduces itself this time.
    fn introduction(&mut self, stage: &Stage<Self::Ledger>) -> Introduction;

    /// It is connected.
    fn connected(&mut self, line: &mut Line, stage: &Stage<Self::Ledger>) -> io::Result<()>;

    /// There is time to do something by itself.
    fn idle(&mut self, line: &mut Line, stage: &Stage<Self::Ledger>) -> io::Result<()>;

    /// Something came.
    fn heard(
        &mut self,
        line: &mut Line,
        heard: Heard,
        stage: &Stage<Self::Ledger>,
    ) -> io::Result<()>;

    /// Nothing is left to do once nobody publishes any longer.
    fn is_done(&self) -> bool;
}

/// What all clients are told.
#[derive(Debug)]
pub(crate) struct Directions {
    address: SocketAddr,
    publishing: AtomicBool,
    over: AtomicBool,
}

impl Directions {
    pub(crate) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            publishing: AtomicBool::new(true),
            over: AtomicBool::new(false),
        })
    }

    /// Nothing new from now on; what was begun is finished.
    pub(crate) fn stop_publishing(&self) {
        self.publishing.store(false, Ordering::Release);
    }

    /// Everybody leaves.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Where one actor plays.
pub(crate) struct Stage<Ledger> {
    directions: Arc<Directions>,
    ledger: Arc<Mutex<Ledger>>,
}

impl<Ledger> Stage<Ledger> {
    pub(crate) fn is_publishing(&self) -> bool {
        self.directions.publishing.load(Ordering::Acquire)
    }

    /// Writes something down.
    pub(crate) fn note<T>(&self, write: impl FnOnce(&mut Ledger) -> T) -> T {
        write(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An actor that plays.
pub(crate) struct Playing<Ledger> {
    ledger: Arc<Mutex<Ledger>>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<Ledger: Clone + Default + Send + 'static> Playing<Ledger> {
    /// Sends an actor on the stage.
    pub(crate) fn start<A: Actor<Ledger = Ledger>>(
        mut actor: A,
        directions: &Arc<Directions>,
    ) -> Self {
        let ledger = Arc::new(Mutex::new(A::Ledger::default()));
        let done = Arc::new(AtomicBool::new(false));
        let stage = Stage {
            directions: Arc::clone(directions),
            ledger: Arc::clone(&ledger),
        };
        let is_done = Arc::clone(&done);
        let thread = thread::spawn(move || {
            while !stage.directions.over.load(Ordering::Acquire) {
                // A connection that ends is what this is about.
                let _ = play(&mut actor, &stage, &is_done);
                thread::sleep(Duration::from_millis(3));
            }
        });
        Self {
            ledger,
            done,
            thread: Some(thread),
        }
    }

    /// What it has written down so far.
    pub(crate) fn ledger(&self) -> Ledger {
        self.look(Ledger::clone)
    }

    /// Looks at it without copying it.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It has finished what it had begun, after nobody was to begin anything.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Waits for it to leave, once it was told to.
    pub(crate) fn leave(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("an actor does not panic");
        }
    }
}

/// One connection, from its beginning to its end.
fn play<A: Actor>(actor: &mut A, stage: &Stage<A::Ledger>, done: &AtomicBool) -> io::Result<()> {
    let directions = &stage.directions;
    let introduction = actor.introduction(stage);
    let mut line = Line::open(directions.address, &introduction)?;
    actor.connected(&mut line, stage)?;
    while !directions.over.load(Ordering::Acquire) {
        actor.idle(&mut line, stage)?;
        line.flush()?;
        line.fill(Duration::from_millis(10))?;
        while let Some(heard) = line.next()? {
            actor.heard(&mut line, heard, stage)?;
        }
        line.flush()?;
        done.store(!stage.is_publishing() && actor.is_done(), Ordering::Release);
    }
    line.disconnect()
}
