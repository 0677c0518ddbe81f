//! The turn over a runtime that is made up, which reports once what has become ready; or, for one
//! story, what is watched for.

use super::*;
use crate::inbox::Inbox;
use crate::listen::Accept;
use crate::storage::Teller;
use crate::storage::thread::tests::{Chore, Quick};
use core::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use whimbrel_core::Config;
use whimbrel_core::runtime::ListenerConfig;
use whimbrel_transport::{Fault, Security};

/// What both ends of a connection see.
#[derive(Default)]
struct Wire {
    to_broker: Vec<u8>,
    to_client: Vec<u8>,
    /// The client has closed its end.
    has_left: bool,
    /// The broker has.
    has_finished: bool,
    /// Nothing can be written to it.
    is_full: bool,
    /// No layer holds anything of it.
    is_plain: bool,
    /// The system cannot watch it for more than it does.
    is_lost: bool,
    /// Under which name it is reported that there is something to be read, or that it takes bytes
    /// again, once that is so.
    waits: Option<Source>,
}

/// The broker's end; the name is the one under which it is watched.
struct End(Arc<Mutex<Wire>>, Option<Source>);

impl Transport for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.lock().unwrap();
        let count = wire.to_broker.len().min(buffer.len());
        if count == 0 && !wire.has_left {
            wire.waits = self.1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&wire.to_broker[..count]);
        wire.to_broker.drain(..count);
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.lock().unwrap();
        if wire.is_full {
            wire.waits = self.1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.to_client.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().has_finished = true;
        Ok(())
    }

    fn is_unflushed(&self) -> bool {
        false
    }

    fn has_more(&self) -> bool {
        !self.0.lock().unwrap().is_plain
    }

    fn introduce(&mut self) -> Option<Peer> {
        None
    }

    fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
        None
    }

    fn has_left(&self) -> bool {
        self.0.lock().unwrap().has_left
    }

    fn has_goodbye(&self) -> bool {
        false
    }
}

struct Nowhere;

impl Accept for Nowhere {
    type Newcomer = End;
    type Transport = End;

    fn accept(&mut self, _: &ListenerConfig) -> io::Result<(End, Option<SocketAddr>)> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn watch(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn transport(end: End, _: &Security, _: &Peer) -> Result<End, Fault> {
        Ok(end)
    }
}

struct Reports<const IS_LEVEL: bool>;

impl<const IS_LEVEL: bool> Driver for Reports<IS_LEVEL> {
    type Broker = Box<Broker>;
    type Transport = End;
    type Acceptor = Nowhere;

    const IS_LEVEL: bool = IS_LEVEL;
    const WRITE_BUFFER_KEPT_BYTES: usize = 1 << 10;
    const LINGERING_MAXIMUM: usize = 1;

    fn watch(
        &mut self,
        transport: &mut End,
        source: Source,
        before: Option<Interest>,
        wanted: Interest,
    ) -> io::Result<()> {
        if before.is_none() {
            transport.1 = Some(source);
            if IS_LEVEL && wanted.read {
                transport.0.lock().unwrap().waits = Some(source);
            }
        }
        match transport.0.lock().unwrap().is_lost {
            true => Err(io::ErrorKind::OutOfMemory.into()),
            false => Ok(()),
        }
    }

    fn send(&mut self, _: PeerId, _: Letter) {
        unreachable!("there is one shard");
    }

    fn hand_over(&mut self, _: PeerId, _: Moving<End>) {
        unreachable!("there is one shard");
    }
}

type World = WorldOf<false>;

struct WorldOf<const IS_LEVEL: bool> {
    shard: Shard<Reports<IS_LEVEL>>,
    inbox: Arc<Inbox<End>>,
    /// Has no thread.
    log: LogSender,
}

impl<const IS_LEVEL: bool> WorldOf<IS_LEVEL> {
    fn new() -> Self {
        Self::with(ServerConfig::default().broker())
    }

    fn with(broker: Config) -> Self {
        let clock = Clock::start();
        let config = ServerConfig::default();
        let log = LogSender::default();
        let inbox = Arc::new(Inbox::new(Waker::noop().clone()));
        let seat = Seat {
            broker: Broker::new(broker, 1, clock.now()).unwrap(),
            config: Arc::new(config),
            shard: 0,
            threads: Threads::default(),
            clock,
            policy: Policy::new(&[], None),
            events: None,
            inboxes: [Arc::clone(&inbox)].into(),
            log: Some(log.clone()),
        };
        let shard = Shard::new(seat, Reports, []).unwrap();
        Self { shard, inbox, log }
    }

    fn connect(&self) -> Arc<Mutex<Wire>> {
        let wire = Arc::<Mutex<Wire>>::default();
        let end = End(Arc::clone(&wire), None);
        self.inbox.push(Input::Attach(end));
        wire
    }

    /// Turns until nothing is left over, with what these wires have to report.
    fn run(&mut self, wires: &[&Arc<Mutex<Wire>>]) {
        loop {
            self.shard.begin();
            let mut is_reported = false;
            for wire in wires {
                let mut wire = wire.lock().unwrap();
                let is_ready = !wire.is_full && (wire.has_left || !wire.to_broker.is_empty());
                if let Some(source) = wire.waits.take_if(|_| is_ready) {
                    drop(wire);
                    self.shard.serve(source, true, true);
                    is_reported = true;
                }
            }
            self.shard.finish();
            if !is_reported && !self.shard.is_busy() {
                return;
            }
        }
    }
}

/// 3.1.1, `a`.
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a";
const CONNACK: &[u8] = b"\x20\x02\0\0";
const PINGREQ: &[u8] = b"\xc0\0";
const PINGRESP: &[u8] = b"\xd0\0";

#[test]
fn what_is_said_is_answered_and_who_leaves_is_let_go() {
    let mut world = World::new();
    let wire = world.connect();
    world.run(&[&wire]);
    wire.lock()
        .unwrap()
        .to_broker
        .extend([CONNECT, PINGREQ].concat());
    world.run(&[&wire]);
    assert_eq!(wire.lock().unwrap().to_client, [CONNACK, PINGRESP].concat());
    wire.lock().unwrap().has_left = true;
    world.run(&[&wire]);
    assert_eq!(Arc::strong_count(&wire), 1, "nobody else holds it");
}

#[test]
fn who_is_closed_with_last_bytes_is_waited_for_and_heard_under_a_new_name() {
    let mut world = World::new();
    let (refused, other) = (world.connect(), world.connect());
    world.run(&[&refused, &other]);
    // Protocol level 9 is none.
    refused
        .lock()
        .unwrap()
        .to_broker
        .extend(b"\x10\x0d\0\x04MQTT\x09\x02\0\0\0\x01a");
    world.run(&[&refused, &other]);
    let wire = refused.lock().unwrap();
    assert!(!wire.to_client.is_empty() && wire.has_finished);
    assert!(
        matches!(wire.waits, Some(Source::Lingering(_))),
        "{:?}",
        wire.waits
    );
    drop(wire);
    assert_eq!(Arc::strong_count(&refused), 2, "it has not closed its end");
    refused.lock().unwrap().has_left = true;
    world.run(&[&refused, &other]);
    assert_eq!(Arc::strong_count(&refused), 1);
    assert_eq!(Arc::strong_count(&other), 2);
}

#[test]
fn a_stop_tells_everybody_and_ends_when_they_have_left() {
    let mut world = World::new();
    let wire = world.connect();
    wire.lock().unwrap().to_broker.extend(CONNECT);
    world.run(&[&wire]);
    world.inbox.stop(StopLevel::Gracefully);
    wire.lock().unwrap().has_left = true;
    world.run(&[&wire]);
    assert!(world.shard.has_stopped());
    drop(world.shard);
    assert!(world.inbox.is_closed());
}

/// Whoever does not take its last bytes has as long as is configured, and not as long as one that
/// is closed while others stay.
#[test]
fn who_is_told_of_a_stop_has_all_the_time_until_then() {
    let mut world = World::new();
    let wire = world.connect();
    let connect = b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01a";
    wire.lock().unwrap().to_broker.extend(connect);
    world.run(&[&wire]);
    wire.lock().unwrap().is_full = true;
    world.inbox.stop(StopLevel::Gracefully);
    world.run(&[&wire]);
    let until = world.shard.stopping_until();
    assert!(until > Some(world.shard.now().monotonic.after_ms(3_500)));
    assert_eq!(world.shard.lingering.next_deadline(), until);
}

#[test]
fn a_prompt_stop_has_one_end() {
    let mut world = World::new();
    world.inbox.stop(StopLevel::Promptly);
    world.shard.begin();
    let began = world.shard.now().monotonic;
    assert_eq!(world.shard.stopping_until(), Some(began));
    while world.shard.now().monotonic == began {
        world.shard.begin();
    }
    assert_eq!(world.shard.stopping_until(), Some(began));
}

/// What follows from the end of one is the end of another.
#[test]
fn who_ends_while_others_are_seen_off_is_seen_off_too() {
    let mut world = World::new();
    let (one, other) = (world.connect(), world.connect());
    // With a will to `w`, to which the other has subscribed.
    let connect = b"\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01a\0\x01w\0\x01x";
    one.lock().unwrap().to_broker.extend(connect);
    let subscribe = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01b\x82\x06\0\x01\0\x01w\0";
    other.lock().unwrap().to_broker.extend(subscribe);
    world.run(&[&one, &other]);
    one.lock().unwrap().has_left = true;
    {
        let mut other = other.lock().unwrap();
        (other.is_full, other.is_lost) = (true, true);
    }
    world.run(&[&one]);
    assert_eq!(Arc::strong_count(&one), 1);
    assert_eq!(Arc::strong_count(&other), 1);
}

#[test]
fn who_comes_while_the_log_is_behind_is_read_when_it_has_caught_up() {
    let mut config = ServerConfig::default().broker();
    config.durable = true;
    config.limits.unpersisted_bytes_maximum = 1;
    let mut world = World::with(config);
    let publisher = world.connect();
    publisher
        .lock()
        .unwrap()
        .to_broker
        .extend([CONNECT, b"\x33\x08\0\x03a/b\0\x01c"].concat());
    world.run(&[&publisher]);
    let Some((0, LogRequest::Append(batch))) = world.log.pop() else {
        panic!("a retained message is kept");
    };
    assert!(world.shard.broker.log_is_behind());
    let newcomer = world.connect();
    newcomer
        .lock()
        .unwrap()
        .to_broker
        .extend(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01b");
    world.run(&[&publisher, &newcomer]);
    assert!(newcomer.lock().unwrap().to_client.is_empty());
    world
        .inbox
        .push(Input::Storage(News::Persisted(batch.position)));
    world.run(&[&publisher, &newcomer]);
    assert_eq!(newcomer.lock().unwrap().to_client, CONNACK);
}

#[test]
fn who_says_no_more_still_hears_its_last_bytes() {
    let mut world = World::new();
    let wire = world.connect();
    world.run(&[&wire]);
    {
        let mut wire = wire.lock().unwrap();
        wire.is_full = true;
        wire.has_left = true;
        // Protocol level 9 is none.
        wire.to_broker
            .extend(b"\x10\x0d\0\x04MQTT\x09\x02\0\0\0\x01a");
    }
    let source = wire.lock().unwrap().waits.expect("it was read");
    world.shard.serve(source, true, true);
    world.shard.finish();
    world.run(&[&wire]);
    assert!(wire.lock().unwrap().to_client.is_empty());
    assert_eq!(Arc::strong_count(&wire), 2, "it is waited for");
    wire.lock().unwrap().is_full = false;
    world.run(&[&wire]);
    assert!(!wire.lock().unwrap().to_client.is_empty());
    assert_eq!(Arc::strong_count(&wire), 1);
}

/// What one connection asks for is kept on the shard's thread, once the disk was quick; what two
/// ask for in one turn, on the log's.
#[test]
fn who_is_alone_does_not_wait_for_another_thread() {
    let mut config = ServerConfig::default().broker();
    config.durable = true;
    let mut world = World::with(config);
    let told_by = Arc::new(Mutex::new(None));
    let (by, inbox) = (Arc::clone(&told_by), Arc::clone(&world.inbox));
    let teller: Teller = Box::new(move |news| {
        *by.lock().unwrap() = Some(thread::current().id());
        inbox.push(Input::Storage(news));
    });
    let (store, threads) = (Box::new(Quick::new(Chore::No)), Threads::default());
    let started = (world.log).start(store, Clock::start(), vec![teller], &threads);
    started.unwrap();
    let wires = [world.connect(), world.connect()];
    for (wire, name) in wires.iter().zip(*b"ab") {
        let connect = [&CONNECT[..CONNECT.len() - 1], &[name]].concat();
        wire.lock().unwrap().to_broker.extend(connect);
    }
    world.run(&wires.each_ref());
    // Retained at QoS 1; who kept it. Acknowledgements are the news that it is kept.
    let mut publish = |count: usize| {
        let wires = &wires.each_ref()[..count];
        for wire in wires {
            let mut wire = wire.lock().unwrap();
            wire.to_client.clear();
            wire.to_broker.extend(b"\x33\x08\0\x03a/b\0\x01c");
        }
        while wires
            .iter()
            .any(|wire| wire.lock().unwrap().to_client.is_empty())
        {
            world.run(wires);
            thread::yield_now();
        }
        told_by.lock().unwrap().take()
    };
    let here = Some(thread::current().id());
    while publish(1) != here {}
    for _ in 0..10 {
        assert_ne!(publish(2), here);
    }
    while publish(1) != here {}
}

/// Its end was read and nobody reports it again, as when a layer has told of it.
#[test]
fn who_ends_and_is_paused_is_gone_when_it_is_resumed() {
    fn tell_of<const IS_LEVEL: bool>() {
        let mut world = WorldOf::<IS_LEVEL>::new();
        let wire = world.connect();
        world.run(&[&wire]);
        {
            let mut wire = wire.lock().unwrap();
            wire.to_broker.extend([CONNECT, PINGREQ].concat());
            wire.has_left = true;
        }
        let socket = world.shard.sockets.iter_mut().next();
        let id = socket.expect("it is connected").id;
        world.shard.begin();
        world.shard.serve(source_of(id), true, true);
        world.shard.pause(id, true);
        world.shard.finish();
        wire.lock().unwrap().waits = None;
        world.run(&[&wire]);
        assert_eq!(Arc::strong_count(&wire), 2, "the core holds bytes of it");
        world.shard.pause(id, false);
        world.run(&[&wire]);
        assert_eq!(Arc::strong_count(&wire), 1, "level: {IS_LEVEL}");
    }
    tell_of::<false>();
    tell_of::<true>();
}

/// One read may make the core pause a connection. What else there is of it stays where it is until
/// it is resumed, although the pause is carried out only at the end of the turn.
#[test]
fn who_is_to_be_paused_is_not_read_again_in_the_same_turn() {
    fn read_of<const IS_LEVEL: bool>(is_plain: bool) {
        let mut broker = ServerConfig::default().broker();
        // A few messages are a turn's work.
        broker.limits.fanout_step = 1;
        let mut world = WorldOf::<IS_LEVEL>::with(broker);
        let wire = world.connect();
        wire.lock().unwrap().is_plain = is_plain;
        let message = b"\x30\x04\0\x01tx";
        let (count, read_maximum) = (50_000, world.shard.read_buffer_maximum);
        let subscribe = b"\x82\x06\0\x01\0\x01t\0";
        let begin = [CONNECT, subscribe].concat();
        world.run(&[&wire]);
        let id = world.shard.sockets.iter_mut().next().unwrap().id;
        wire.lock().unwrap().to_broker.extend(begin);
        world.shard.begin();
        world.shard.serve(source_of(id), true, true);
        world.shard.finish();
        wire.lock().unwrap().to_broker.extend(message.repeat(count));
        let left = || wire.lock().unwrap().to_broker.len();
        let all = left();
        world.shard.begin();
        world.shard.serve(source_of(id), true, false);
        world.shard.serve(source_of(id), true, false);
        let read = all - left();
        assert!((1..=read_maximum).contains(&read), "{read} at once");
        assert!(world.shard.broker.is_paused(id));
        world.shard.finish();
        let handled = |world: &WorldOf<IS_LEVEL>| {
            let statistics = world.shard.broker.statistics();
            statistics.publishes_received == count as u64
        };
        // Its end comes behind all that, and closes nothing before.
        wire.lock().unwrap().has_left = true;
        for _ in 0..count {
            if Arc::strong_count(&wire) == 1 {
                break;
            }
            world.shard.begin();
            // Where it is reported once, it was; else for as long as it is watched.
            let socket = world.shard.sockets.iter_mut().next();
            let watched = socket.and_then(|socket| socket.watched);
            if IS_LEVEL && watched.is_some_and(|wanted| wanted.read) {
                world.shard.serve(source_of(id), true, false);
            }
            world.shard.finish();
        }
        assert!(handled(&world), "{} bytes were not read", left());
    }
    read_of::<false>(true);
    read_of::<false>(false);
    read_of::<true>(true);
    read_of::<true>(false);
}
