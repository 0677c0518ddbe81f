//! Who does the work, with a store that is only quick.

use super::*;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{ThreadId, current};
use whimbrel_core::action::BatchMark;

/// For what is to come at once; so long only so that a test that fails ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it is to do beside keeping things.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chore {
    No,
    /// Reports pressure, a few steps after a batch.
    Pressure,
    /// Panics with the next step on a thread that is not the store's own.
    Panic,
    /// Fails there instead.
    Fail,
    /// Reports what is kept a moment later only, as with a window for syncs.
    Later,
}

/// Keeps nothing, at once.
pub(crate) struct Quick {
    owner: Option<ThreadId>,
    chore: Chore,
    /// Appended, and not reported.
    positions: VecDeque<(u16, Position)>,
    /// Steps until the chore is done.
    chore_steps: u32,
    is_closed: bool,
    now: Timestamp,
    /// When something was appended last.
    appended: Timestamp,
    events: VecDeque<StoreEvent>,
}

impl Quick {
    pub(crate) fn new(chore: Chore) -> Self {
        Self {
            owner: None,
            chore,
            positions: VecDeque::new(),
            chore_steps: 0,
            is_closed: false,
            now: Timestamp::default(),
            appended: Timestamp::default(),
            events: VecDeque::new(),
        }
    }
}

impl Store for Quick {
    fn append(&mut self, shard: u16, batch: Batch) {
        self.positions.push_back((shard, batch.position));
        self.appended = self.now;
        self.chore_steps = 10;
    }

    fn read(&mut self, _: u16, _: MessageId) {}

    fn advance(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        (self.chore == Chore::Later && !self.positions.is_empty()).then_some(self.now.after_ms(1))
    }

    fn close(&mut self) {
        self.is_closed = true;
    }

    fn step(&mut self) -> bool {
        let is_owner = *self.owner.get_or_insert_with(|| current().id()) == current().id();
        assert!(is_owner || self.chore != Chore::Panic, "as it is to");
        if !is_owner && self.chore == Chore::Fail {
            self.positions.clear();
            self.events
                .push_back(StoreEvent::Failed("as it is to".into()));
            return true;
        }
        let is_early = self.chore == Chore::Later && self.now <= self.appended && !self.is_closed;
        let due = if is_early {
            None
        } else {
            self.positions.pop_front()
        };
        if let Some((shard, position)) = due {
            self.events
                .push_back(StoreEvent::Durable { shard, position });
        } else if self.chore == Chore::Pressure && self.chore_steps > 0 {
            self.chore_steps -= 1;
            if self.chore_steps == 0 {
                self.events
                    .push_back(StoreEvent::Pressure(Pressure::High(Shortage::Disk)));
            }
        } else {
            if core::mem::take(&mut self.is_closed) {
                self.events.push_back(StoreEvent::Closed);
            }
            return false;
        }
        true
    }

    fn poll_event(&mut self) -> Option<StoreEvent> {
        self.events.pop_front()
    }

    fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}

/// A log, its shard, and what that hears, with the thread it was told by.
struct World {
    log: LogSender,
    news: Arc<Mutex<Receiver<(News, ThreadId)>>>,
    threads: Threads,
    last: u64,
}

impl World {
    fn new(chore: Chore) -> Self {
        let log = LogSender::default();
        let threads = Threads::default();
        let (hears, news) = channel();
        let store = Box::new(Quick::new(chore));
        let teller: Teller = Box::new(move |news| drop(hears.send((news, current().id()))));
        log.start(store, Clock::start(), vec![teller], &threads)
            .unwrap();
        Self {
            log,
            news: Arc::new(Mutex::new(news)),
            threads,
            last: 0,
        }
    }

    fn send(&mut self) -> Position {
        self.send_batch(100, None)
    }

    fn send_batch(&mut self, bytes: usize, mark: Option<BatchMark>) -> Position {
        self.last += 1;
        let batch = Batch {
            position: Position(self.last),
            operations: vec![0; bytes],
            mark,
            live_bytes: 0,
        };
        self.log.send(0, LogRequest::Append(batch)).unwrap();
        Position(self.last)
    }

    /// What is told next, and by whom.
    fn listen(&self) -> (News, ThreadId) {
        lock(&self.news)
            .recv_timeout(PATIENCE)
            .expect("somebody tells")
    }

    /// What is kept next, and by whom.
    fn hear(&self) -> (Position, ThreadId) {
        match self.listen() {
            (News::Persisted(position), by) => (position, by),
            _ => panic!("something else than that it is kept"),
        }
    }

    /// What the thread keeps next.
    fn hear_of_thread(&self) -> Position {
        let (position, by) = self.hear();
        assert_ne!(by, current().id());
        position
    }

    /// Sends one as a shard does, and whether it is kept here.
    fn commit(&mut self) -> (Position, bool) {
        let position = self.send();
        let is_here = self.log.commit_here();
        if !is_here {
            self.log.wake();
        }
        (position, is_here)
    }

    /// Sends one after the other until one is kept here; each of the others is heard of.
    fn commit_here(&mut self) -> Position {
        loop {
            match self.commit() {
                (position, true) => return position,
                (position, false) => assert_eq!(self.hear_of_thread(), position),
            }
        }
    }
}

#[test]
fn a_lone_batch_is_kept_on_the_calling_thread_once_the_disk_was_quick() {
    let mut world = World::new(Chore::No);
    world.send();
    assert!(!world.log.commit_here(), "who knows how slow it is");
    world.log.wake();
    world.hear();
    let position = world.commit_here();
    assert_eq!(world.hear(), (position, current().id()));
}

#[test]
fn several_are_the_threads_and_stay_in_order() {
    let mut world = World::new(Chore::No);
    let alone = world.commit_here();
    assert_eq!(world.hear().0, alone);
    let (first, second) = loop {
        let (first, second) = (world.send(), world.send());
        // The thread may have come by, and taken the first.
        if !world.log.commit_here() {
            break (first, second);
        }
        assert_eq!([world.hear().0, world.hear().0], [first, second]);
    };
    world.log.wake();
    assert_eq!(
        [world.hear_of_thread(), world.hear_of_thread()],
        [first, second]
    );
}

#[test]
fn what_is_large_or_of_a_checkpoint_is_the_threads() {
    let mut world = World::new(Chore::No);
    let alone = world.commit_here();
    assert_eq!(world.hear().0, alone);
    for (bytes, mark) in [
        (LONE_BYTES + 1, None),
        (0, Some(BatchMark::CheckpointBegin)),
    ] {
        let position = world.send_batch(bytes, mark);
        assert!(!world.log.commit_here());
        world.log.wake();
        assert_eq!(world.hear().0, position);
    }
}

#[test]
fn what_else_there_is_to_do_is_left_to_the_thread() {
    let mut world = World::new(Chore::Pressure);
    loop {
        let (position, is_here) = world.commit();
        assert_eq!(world.hear().0, position);
        let (news, by) = world.listen();
        assert!(matches!(news, News::Pressure(true)));
        assert_ne!(by, current().id());
        if is_here {
            return;
        }
    }
}

#[test]
fn what_is_kept_later_is_seen_to_by_the_thread() {
    let mut world = World::new(Chore::Later);
    loop {
        let (position, is_here) = world.commit();
        assert_eq!(world.hear_of_thread(), position);
        if is_here {
            return;
        }
    }
}

#[test]
fn a_disk_that_fails_a_shard_has_failed_for_all() {
    let mut world = World::new(Chore::Fail);
    world.commit_here();
    let (news, by) = world.listen();
    assert!(matches!(news, News::Failed));
    assert_eq!(by, current().id());
}

#[test]
fn a_shard_that_panics_in_it_has_failed_the_log() {
    let mut world = World::new(Chore::Panic);
    let (news, threads) = (world.news.clone(), world.threads.clone());
    let shard = thread::spawn(move || world.commit_here());
    assert!(shard.join().is_err());
    // Its end of the log went with it, so the thread looks, and lets go of everything.
    threads.wait().unwrap();
    let news: Vec<_> = lock(&news).try_iter().collect();
    assert!(matches!(news.last(), Some((News::Failed, _))));
}

#[test]
fn it_closes_when_every_sender_is_gone() {
    let mut world = World::new(Chore::No);
    let first = world.send();
    let other = world.log.clone();
    other.wake();
    assert_eq!(world.hear().0, first);
    let second = world.send();
    drop(core::mem::take(&mut world.log));
    other.wake();
    assert_eq!(world.hear().0, second);
    drop(other);
    world.threads.wait().unwrap();
}
