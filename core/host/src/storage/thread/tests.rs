//! Who does the work, with a store that is only quick.

use super::*;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{ThreadId, current};

/// What it is to do when it has nothing else to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chore {
    No,
    /// Reports pressure, a few steps after a batch.
    Pressure,
    /// Panics with the next step on a thread that is not the store's own.
    Panic,
}

struct Quick {
    owner: Option<ThreadId>,
    chore: Chore,
    /// Appended, and not reported.
    positions: VecDeque<(u16, Position)>,
    /// Steps until the chore is done.
    chore_steps: u32,
    is_closed: bool,
    events: VecDeque<StoreEvent>,
}

impl Store for Quick {
    fn append(&mut self, shard: u16, batch: Batch) {
        self.positions.push_back((shard, batch.position));
        self.chore_steps = 10;
    }

    fn read(&mut self, _: u16, _: MessageId) {}

    fn advance(&mut self, _: Timestamp) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    fn close(&mut self) {
        self.is_closed = true;
    }

    fn step(&mut self) -> bool {
        let is_owner = *self.owner.get_or_insert_with(|| current().id()) == current().id();
        assert!(is_owner || self.chore != Chore::Panic, "as it is to");
        if let Some((shard, position)) = self.positions.pop_front() {
            self.events
                .push_back(StoreEvent::Durable { shard, position });
        } else if self.chore == Chore::Pressure && self.chore_steps > 0 {
            self.chore_steps -= 1;
            if self.chore_steps == 0 {
                self.events.push_back(StoreEvent::Pressure(Pressure::High));
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
    news: Receiver<(News, ThreadId)>,
    threads: Threads,
    last: u64,
}

impl World {
    fn new(chore: Chore) -> Self {
        let log = LogSender::default();
        let threads = Threads::default();
        let (hears, news) = channel();
        let store = Box::new(Quick {
            owner: None,
            chore,
            positions: VecDeque::new(),
            chore_steps: 0,
            is_closed: false,
            events: VecDeque::new(),
        });
        let teller: Teller = Box::new(move |news| drop(hears.send((news, current().id()))));
        log.start(store, Clock::start(), vec![teller], &threads)
            .unwrap();
        Self {
            log,
            news,
            threads,
            last: 0,
        }
    }

    fn send(&mut self) -> Position {
        self.last += 1;
        let batch = Batch {
            position: Position(self.last),
            operations: Vec::new(),
            mark: None,
            live_bytes: 0,
        };
        self.log.send(0, LogRequest::Append(batch)).unwrap();
        Position(self.last)
    }

    /// What is kept next, and by whom.
    fn hear(&self) -> (Position, ThreadId) {
        match self.news.recv() {
            Ok((News::Persisted(position), by)) => (position, by),
            _ => panic!("something else than that it is kept"),
        }
    }

    /// Sends one after the other until one is kept here; each of the others is heard of.
    fn commit_here(&mut self) -> Position {
        loop {
            let position = self.send();
            if self.log.commit_here() {
                return position;
            }
            self.log.wake();
            let (kept, by) = self.hear();
            assert_eq!(kept, position);
            assert_ne!(by, current().id());
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
    let (first, second) = (world.send(), world.send());
    assert!(!world.log.commit_here());
    world.log.wake();
    for position in [first, second] {
        let (kept, by) = world.hear();
        assert_eq!(kept, position);
        assert_ne!(by, current().id());
    }
}

#[test]
fn what_else_there_is_to_do_is_left_to_the_thread() {
    let mut world = World::new(Chore::Pressure);
    let mut has_committed = false;
    while !has_committed {
        world.send();
        has_committed = world.log.commit_here();
        world.log.wake();
        assert!(matches!(world.news.recv(), Ok((News::Persisted(_), _))));
        let (news, by) = world.news.recv().unwrap();
        assert!(matches!(news, News::Pressure(true)));
        assert_ne!(by, current().id());
    }
}

#[test]
fn a_shard_that_panics_in_it_has_failed_the_log() {
    let mut world = World::new(Chore::Panic);
    let log = world.log.clone();
    let died = thread::scope(|scope| {
        let shard = scope.spawn(|| world.commit_here());
        shard.join().is_err()
    });
    assert!(died);
    log.wake();
    assert!(matches!(world.news.recv(), Ok((News::Failed, _))));
}

#[test]
fn it_closes_when_every_sender_is_gone() {
    let mut world = World::new(Chore::No);
    let position = world.send();
    let other = world.log.clone();
    drop(world.log);
    other.wake();
    assert!(matches!(world.news.recv(), Ok((News::Persisted(kept), _)) if kept == position));
    drop(other);
    world.threads.wait().unwrap();
}
