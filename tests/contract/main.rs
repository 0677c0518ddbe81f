//! The contract of `Broker`, line by line, as properties. Its first and last line are tried with
//! much wilder scripts by `tests/fuzz`.

mod effort;

use quickcheck::{Arbitrary, Gen, QuickCheck, quickcheck};
use whimbrel_core::action::{Action, Peer};
use whimbrel_core::codec::packet::{Connect, Packet, QoS, Version};
use whimbrel_core::codec::{self, frame};
use whimbrel_core::config::{Config, Limits, SessionConfig};
use whimbrel_core::{Broker, ConnectionId, Now, Timestamp, UnixTime};
use whimbrel_tests::world::{START, VERSIONS, connect, lasting, publish};
use whimbrel_tests::{World, fuzz};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const TOPICS: [&str; 4] = ["a", "a/b", "b", "a/b/c"];
const NAMES: [&str; 4] = ["zero", "one", "two", "three"];
const FILTERS: [&str; 6] = ["a", "a/#", "+/b", "#", "b", "$share/g/a"];

/// Something that happens to a broker with four clients.
#[derive(Clone, Debug)]
enum Happening {
    Publish(usize, usize, usize, bool),
    Subscribe(usize, usize, usize),
    Ping(usize),
    Pass(u32),
    Jump(u64),
    Back(u32),
    Garbage(usize, Vec<u8>),
    Cut(usize),
    Return(usize),
}

impl Arbitrary for Happening {
    fn arbitrary(g: &mut Gen) -> Self {
        let client = usize::arbitrary(g) % 4;
        let (one, other) = (usize::arbitrary(g), usize::arbitrary(g));
        match u8::arbitrary(g) % 16 {
            0..=5 => Self::Publish(client, one % 4, other % 3, bool::arbitrary(g)),
            6..=8 => Self::Subscribe(client, one % 6, other % 3),
            9 => Self::Ping(client),
            10 | 11 => Self::Pass(u32::arbitrary(g) % 100_000),
            12 => Self::Jump(u64::arbitrary(g)),
            13 => Self::Back(u32::arbitrary(g)),
            14 => Self::Garbage(client, Vec::arbitrary(g)),
            _ if bool::arbitrary(g) => Self::Cut(client),
            _ => Self::Return(client),
        }
    }
}

/// A broker, its clients, and what each of them has heard.
struct Stage {
    broker: Broker,
    now: Now,
    clients: Vec<(ConnectionId, Version, Vec<u8>)>,
    packet_id: u16,
}

impl Stage {
    fn new(config: Config) -> Self {
        let now = Now {
            monotonic: Timestamp(0),
            wall: START,
        };
        let mut stage = Self {
            broker: Broker::new(config, 5, now).expect("a valid configuration"),
            now,
            clients: Vec::new(),
            packet_id: 0,
        };
        for place in 0..4 {
            let version = VERSIONS[place % 3];
            let id = stage.broker.accept(now, Peer::default());
            stage.broker.closed(now, id);
            stage.clients.push((id, version, Vec::new()));
            stage.happen(&Happening::Return(place));
        }
        stage.drain();
        stage
    }

    /// A client comes, on a new connection.
    fn enter(&mut self, place: usize, hello: &Connect<'_>) {
        self.clients[place].0 = self.broker.accept(self.now, Peer::default());
        self.clients[place].2.clear();
        self.say(place, &Packet::Connect(*hello));
    }

    fn say(&mut self, place: usize, packet: &Packet<'_>) {
        let (id, version, _) = self.clients[place];
        let mut bytes = Vec::new();
        codec::encode(packet, version, &mut bytes).expect("it can be said");
        self.broker.receive(self.now, id, &bytes);
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Publish(place, topic, qos, retain) => {
                self.packet_id = self.packet_id % 1_000 + 1;
                let payload = self.packet_id.to_string();
                let mut message =
                    publish(TOPICS[topic], payload.as_bytes(), QOS[qos], self.packet_id);
                message.retain = retain;
                self.say(place, &Packet::Publish(message));
            }
            Happening::Subscribe(place, filter, qos) => {
                let mut filters = codec::SubscribeBuffer::new();
                let options = codec::packet::SubscribeOptions {
                    maximum_qos: QOS[qos],
                    ..Default::default()
                };
                filters.push(FILTERS[filter], options);
                let version = self.clients[place].1;
                let subscribe = codec::packet::Subscribe {
                    packet_id: whimbrel_core::id::PacketId::FIRST,
                    properties: codec::Properties::EMPTY,
                    filters: filters.as_filters(version),
                };
                self.say(place, &Packet::Subscribe(subscribe));
            }
            Happening::Ping(place) => self.say(place, &Packet::PingReq),
            Happening::Pass(ms) => {
                self.now.monotonic = self.now.monotonic.after_ms(u64::from(ms));
                self.now.wall.0 = self.now.wall.0.saturating_add(u64::from(ms));
                self.broker.advance(self.now);
            }
            Happening::Jump(wall) => {
                self.now.wall = UnixTime(wall);
                self.broker.advance(self.now);
            }
            Happening::Back(ms) => {
                let mut earlier = self.now;
                earlier.monotonic.0 = earlier.monotonic.0.saturating_sub(u64::from(ms));
                self.broker.advance(earlier);
            }
            Happening::Garbage(place, ref bytes) => {
                let id = self.clients[place].0;
                self.broker.receive(self.now, id, bytes);
            }
            Happening::Cut(place) => {
                let id = self.clients[place].0;
                self.broker.closed(self.now, id);
            }
            Happening::Return(place) => {
                let version = self.clients[place].1;
                let hello = Connect {
                    keep_alive_s: 60,
                    ..lasting(version, NAMES[place])
                };
                self.enter(place, &hello);
            }
        }
    }

    /// Carries out what is asked for, with all that is due at once.
    fn drain(&mut self) {
        for _ in 0..100_000 {
            if let Some(action) = self.broker.poll_action() {
                self.carry_out(action);
                continue;
            }
            match self.broker.next_deadline() {
                Some(deadline) if deadline <= self.now.monotonic => self.broker.advance(self.now),
                _ => return,
            }
        }
        panic!("it does not come to rest");
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send(id) => {
                let mut bytes = Vec::new();
                self.broker.transmit(self.now, id, &mut bytes);
                self.hear(id, &bytes);
            }
            Action::Close {
                connection,
                last_bytes,
            } => self.hear(connection, &last_bytes),
            Action::Authenticate { connection, .. } => {
                let verdict = whimbrel_core::Verdict::accept();
                self.broker.authenticated(self.now, connection, verdict);
            }
            Action::Persist(batch) => self.broker.persisted(self.now, batch.position),
            _ => {}
        }
    }

    fn hear(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.0 == id) {
            client.2.extend_from_slice(bytes);
        }
    }

    /// What each client has heard, in an order of its own and without packet identifiers: those
    /// depend on when a delivery starts.
    fn heard(&self) -> Vec<Vec<String>> {
        let of = |(_, version, inbox): &(ConnectionId, Version, Vec<u8>)| {
            let mut packets = Vec::new();
            let mut rest = inbox.as_slice();
            while let Some((frame, length)) = frame::split(rest, u32::MAX).expect("well-formed") {
                let packet = codec::decode(*version, frame).expect("well-formed");
                packets.push(match packet {
                    Packet::Publish(publish) => {
                        let payload = String::from_utf8_lossy(publish.payload);
                        let (qos, retain) = (publish.qos, publish.retain);
                        format!("{} {payload} {qos:?} {retain}", publish.topic)
                    }
                    other => format!("{other:?}"),
                });
                rest = &rest[length..];
            }
            packets.sort();
            packets
        };
        self.clients.iter().map(of).collect()
    }
}

fn durable(durable: bool) -> Config {
    Config {
        durable,
        ..Config::default()
    }
}

quickcheck! {
    /// 1. Time: a clock that goes backwards is taken to stand still. Deadlines do not come early.
    fn time_that_goes_backwards_stands_still(steps: Vec<(u16, u16)>) -> bool {
        let mut world = World::default();
        let packet = Connect { keep_alive_s: 100, ..connect(Version::V4, "client") };
        let (client, _) = world.enter(&packet);
        let mut latest = 0_u64;
        for (forth, back) in steps {
            let at = latest + u64::from(forth);
            if at >= 150_000 {
                break;
            }
            latest = at;
            for monotonic in [at, at.saturating_sub(u64::from(back))] {
                let now = Now { monotonic: Timestamp(monotonic), wall: START };
                world.broker.advance(now);
                while world.broker.poll_action().is_some() {}
            }
        }
        let open = world.statistics().connections_open == 1;
        world.now.monotonic = Timestamp(latest);
        world.pass_ms(150_000 - latest);
        open && world.is_closed(client)
    }

    /// 2. Lax draining: whether actions are carried out after each input or after many, clients
    ///    hear the same. Retained messages are left out: they are looked up when there is room for
    ///    them, and one that was replaced meanwhile is not sent.
    fn draining_late_changes_nothing(happenings: Vec<Happening>, every: u8) -> bool {
        let lasting = |happening: &&Happening| !matches!(
            happening,
            // What was not transmitted is not heard by who is gone.
            Happening::Publish(_, _, _, true)
                | Happening::Garbage(..) | Happening::Cut(_) | Happening::Return(_) | Happening::Pass(_)
        );
        let (mut eager, mut lax) = (Stage::new(durable(false)), Stage::new(durable(false)));
        for (place, happening) in happenings.iter().filter(lasting).enumerate() {
            eager.happen(happening);
            eager.drain();
            lax.happen(happening);
            if place % (usize::from(every) + 1) == 0 {
                lax.drain();
            }
        }
        lax.drain();
        eager.heard() == lax.heard()
    }

    /// 2. Spurious calls, and calls for connections that are gone, are harmless.
    fn spurious_calls_are_harmless(happenings: Vec<Happening>) -> bool {
        let (mut plain, mut pestered) = (Stage::new(durable(true)), Stage::new(durable(true)));
        let gone = pestered.broker.accept(pestered.now, Peer::default());
        pestered.broker.closed(pestered.now, gone);
        pestered.drain();
        for happening in &happenings {
            plain.happen(happening);
            plain.drain();
            pestered.happen(happening);
            let now = pestered.now;
            pestered.broker.receive(now, gone, b"anybody there?");
            pestered.broker.closed(now, gone);
            pestered.broker.transmit(now, gone, &mut Vec::new());
            let verdict = whimbrel_core::Verdict::accept();
            pestered.broker.authenticated(now, gone, verdict);
            pestered.broker.advance(now);
            pestered.drain();
            let present = pestered.clients[0].0;
            pestered.broker.receive(now, present, &[]);
            pestered.drain();
        }
        plain.heard() == pestered.heard()
    }

    /// What was counted is taken off again: when everybody has gone for good and nothing is
    /// retained, the broker holds nothing.
    fn in_the_end_nothing_is_held(happenings: Vec<Happening>, is_durable: bool) -> bool {
        let mut stage = Stage::new(durable(is_durable));
        for happening in &happenings {
            stage.happen(happening);
            stage.drain();
            let (now, present) = (stage.now, stage.clients[0].0);
            stage.broker.blocked(now, present, happenings.len());
        }
        for (place, name) in NAMES.into_iter().enumerate() {
            for id in stage.clients.iter().map(|client| client.0) {
                stage.broker.closed(stage.now, id);
            }
            stage.enter(place, &connect(stage.clients[place].1, name));
            for topic in TOPICS {
                let mut nothing = publish(topic, b"", QoS::AtMostOnce, 0);
                nothing.retain = true;
                stage.say(place, &Packet::Publish(nothing));
            }
            stage.drain();
            stage.broker.closed(stage.now, stage.clients[place].0);
            stage.drain();
        }
        stage.broker.statistics().memory_bytes == 0
    }

    /// 3. Progress: after `advance` at `next_deadline`, an action is queued or the deadline has
    ///    moved.
    fn a_deadline_is_worth_waking_up_for(happenings: Vec<Happening>) -> bool {
        let mut stage = Stage::new(durable(true));
        for happening in &happenings {
            stage.happen(happening);
            stage.drain();
        }
        for _ in 0..1_000 {
            let Some(deadline) = stage.broker.next_deadline() else {
                return true;
            };
            let passed = deadline.since(stage.now.monotonic);
            stage.now.monotonic = stage.now.monotonic.max(deadline);
            stage.now.wall.0 = stage.now.wall.0.saturating_add(passed);
            stage.broker.advance(stage.now);
            let Some(action) = stage.broker.poll_action() else {
                let moved = stage.broker.next_deadline().is_none_or(|next| next > deadline);
                if !moved {
                    return false;
                }
                continue;
            };
            stage.carry_out(action);
            stage.drain();
        }
        // Only what repeats for ever takes so long; nothing here does.
        false
    }

    /// 4. Bounded: one input starts at most `fanout_step` deliveries; the rest is due now.
    fn a_large_fan_out_goes_in_steps(subscribers: u8, step: u8) -> bool {
        let step = u32::from(step % 20) + 1;
        let limits = Limits { fanout_step: step, ..Limits::default() };
        let mut world = World::new(Config { limits, ..Config::default() });
        let names: Vec<String> = (0..subscribers % 64).map(|number| number.to_string()).collect();
        for name in &names {
            let client = world.connect(Version::V4, name);
            world.subscribe(client, "t", QoS::AtMostOnce);
        }
        let publisher = world.connect(Version::V4, "publisher");
        let mut bytes = Vec::new();
        let message = Packet::Publish(publish("t", b"x", QoS::AtMostOnce, 1));
        codec::encode(&message, Version::V4, &mut bytes).expect("it can be said");
        let before = world.statistics().publishes_sent;
        world.broker.receive(world.now, publisher, &bytes);
        let mut sent = world.statistics().publishes_sent - before;
        let mut largest = sent;
        while world.broker.next_deadline() == Some(world.now.monotonic) {
            world.broker.advance(world.now);
            let total = world.statistics().publishes_sent - before;
            largest = largest.max(total - sent);
            sent = total;
        }
        largest <= u64::from(step) && sent == names.len() as u64
    }

    /// 4. Bounded: nor does one input that brings many messages.
    fn many_messages_at_once_are_many_turns(messages: u8, subscribers: u8) -> bool {
        let limits = Limits { fanout_step: 4, ..Limits::default() };
        let mut world = World::new(Config { limits, ..Config::default() });
        // No more than a step: none is put off for its own sake.
        for number in 0..subscribers % 5 {
            let client = world.connect(Version::V4, &number.to_string());
            world.subscribe(client, "t", QoS::AtMostOnce);
        }
        let publisher = world.connect(Version::V4, "publisher");
        let mut bytes = Vec::new();
        let message = Packet::Publish(publish("t", b"x", QoS::AtMostOnce, 1));
        codec::encode(&message, Version::V4, &mut bytes).expect("it can be said");
        let before = world.statistics().publishes_sent;
        world.broker.receive(world.now, publisher, &bytes.repeat(messages.into()));
        let mut sent = world.statistics().publishes_sent - before;
        let mut largest = sent;
        while world.broker.next_deadline() == Some(world.now.monotonic) {
            world.broker.advance(world.now);
            let total = world.statistics().publishes_sent - before;
            largest = largest.max(total - sent);
            sent = total;
        }
        let expected = u64::from(messages) * u64::from(subscribers % 5);
        largest <= 16 * 4 + 4 && sent == expected
    }

    /// 5. Deterministic: the same inputs give the same outputs, to the letter.
    fn the_same_again_to_the_letter(happenings: Vec<Happening>) -> bool {
        let play = || {
            let mut stage = Stage::new(durable(true));
            for happening in &happenings {
                stage.happen(happening);
                stage.drain();
            }
            stage.clients.into_iter().map(|client| client.2).collect::<Vec<_>>()
        };
        play() == play()
    }

    /// 6. Total: nothing panics, and clocks may jump.
    fn anything_may_happen(happenings: Vec<Happening>, is_durable: bool) -> bool {
        let mut stage = Stage::new(durable(is_durable));
        for happening in &happenings {
            stage.happen(happening);
            stage.drain();
        }
        let says = stage.broker.statistics();
        says.connections_open <= 4 + happenings.len() as u64 && says.sessions <= 4
    }

    /// 6. Memory stays inside the limits, whatever is sent to clients that take nothing.
    fn memory_stays_inside_the_budget(sizes: Vec<u16>, budget: u16) -> bool {
        let budget = 50_000 + u64::from(budget);
        let limits = Limits {
            memory_budget_bytes: budget,
            slow_consumer_grace_ms: 0,
            ..Limits::default()
        };
        let mut world = World::new(Config { limits, ..Config::default() });
        let slow = world.connect(Version::V4, "slow");
        let away = world.resume(Version::V5, "away");
        for client in [slow, away] {
            world.subscribe(client, "t/#", QoS::AtLeastOnce);
        }
        world.cut(away);
        world.block(slow, true);
        let publisher = world.connect(Version::V5, "publisher");
        for (place, size) in sizes.iter().enumerate() {
            let topic = format!("t/{place}");
            let payload = vec![0; usize::from(*size)];
            let mut message = publish(&topic, &payload, QOS[place % 3], 1);
            message.retain = place % 2 == 0;
            world.send(publisher, &Packet::Publish(message));
            world.take_bytes(publisher);
        }
        let says = world.statistics();
        let held = says.queued_bytes + says.retained_bytes + says.unsent_bytes;
        // One message may be accepted with the last byte of room, for each place it can be in.
        held <= budget + 4 * u64::from(u16::MAX)
    }
}

/// 5 and 6, with scripts that reach everything there is: peers, storage, verdicts, operators.
#[test]
fn scripts_of_random_bytes_break_nothing() {
    fn plays(mut script: Vec<u8>) -> bool {
        // The first bit asks for a second run with the same outcome.
        script.insert(0, 1);
        fuzz::broker(&script);
        true
    }
    QuickCheck::new()
        .rng(Gen::new(600))
        .tests(300)
        .quickcheck(plays as fn(Vec<u8>) -> bool);
}

/// However many deadlines have passed, one call fires so many, and says that there are more.
#[test]
fn time_passes_in_bounded_steps() {
    let mut world = World::new(Config {
        session: SessionConfig {
            expiry_3x_s: 60,
            ..SessionConfig::default()
        },
        ..Config::default()
    });
    for number in 0..5_000 {
        let client = world.resume(Version::V4, &format!("client-{number}"));
        world.cut(client);
    }
    world.now.monotonic = world.now.monotonic.after_ms(61_000);
    world.now.wall = world.now.wall.after_s(61);
    let mut before = world.broker.statistics().sessions;
    let mut steps = 0;
    while before > 0 {
        let deadline = world.broker.next_deadline().expect("more are due");
        assert!(deadline <= world.now.monotonic);
        world.broker.advance(world.now);
        let left = world.broker.statistics().sessions;
        assert!(before - left <= 2_000, "{} at once", before - left);
        (before, steps) = (left, steps + 1);
    }
    assert!(steps > 2, "{steps}");
}

/// Who took all that it was given gets what came meanwhile in one piece; who did not, a share. What
/// does not fit waits, and comes in order.
#[test]
fn what_comes_at_once_goes_out_at_once_unless_the_client_is_slow() {
    let mut stage = Stage::new(durable(false));
    stage.happen(&Happening::Subscribe(0, 0, 2));
    stage.drain();
    let subscriber = stage.clients[0].0;
    let mut sent = 0..;
    for (blocked_bytes, count, takes_all) in [(0, 200, true), (1, 200, false), (0, 400, false)] {
        stage.broker.blocked(stage.now, subscriber, blocked_bytes);
        for id in 1..=count {
            let payload = format!("{:0>1000}", sent.next().unwrap_or_default());
            let message = publish(TOPICS[0], payload.as_bytes(), QoS::AtLeastOnce, id);
            stage.say(1, &Packet::Publish(message));
        }
        let mut piece = Vec::new();
        stage.broker.transmit(stage.now, subscriber, &mut piece);
        assert_eq!(
            piece.len() > usize::from(count) * 1_000,
            takes_all,
            "{}",
            piece.len()
        );
        assert!(piece.len() > 60_000);
        stage.hear(subscriber, &piece);
        stage.drain();
    }
    let mut inbox = &*stage.clients[0].2;
    let mut heard = Vec::new();
    while let Some((frame, length)) = frame::split(inbox, u32::MAX).expect("well-formed") {
        if let Packet::Publish(message) = codec::decode(VERSIONS[0], frame).expect("well-formed") {
            heard.push(String::from_utf8_lossy(message.payload).into_owned());
        }
        inbox = &inbox[length..];
    }
    assert_eq!(heard.len(), 800);
    assert!(heard.is_sorted());
}
