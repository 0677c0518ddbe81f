//! Two clients with one identifier.

use whimbrel_core::codec::Packet;
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::config::DuplicateClient;
use whimbrel_core::{Config, ConnectionId, Event, Peer, Verdict};
use whimbrel_tests::world::{VERSIONS, World, connect, lasting};

fn world(duplicate_client: DuplicateClient) -> World {
    let mut config = Config::default();
    config.session.duplicate_client = duplicate_client;
    World::new(config)
}

/// A client that connects from this address.
fn come(world: &mut World, version: Version, address: &str) -> ConnectionId {
    let connection = world.open_from(Peer {
        address: Some(address.parse().unwrap()),
        ..Peer::default()
    });
    world.set_version(connection, version);
    world.send(connection, &Packet::Connect(connect(version, "twin")));
    connection
}

#[test]
fn the_one_that_is_there_stays_where_that_is_set() {
    for version in VERSIONS {
        let mut world = world(DuplicateClient::Refuse);
        let first = come(&mut world, version, "192.0.2.1:1");
        let second = come(&mut world, version, "192.0.2.2:1");
        let expected = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
        assert_eq!(world.farewell(second), Some(expected));
        assert!(!world.is_closed(first));
        world.cut(first);
        let third = come(&mut world, version, "192.0.2.2:1");
        assert!(!world.is_closed(third), "it is free again");
    }
}

/// The verdict on one CONNECT comes when those on others were given.
fn let_in(world: &mut World, connection: ConnectionId) {
    let now = world.now;
    world
        .broker
        .authenticated(now, connection, Verdict::accept());
    world.run();
}

/// A client gave a connection up on which it still waited, and came in by another one. Then the
/// verdict on the first came: it took the session over, and its clean start ended it.
#[test]
fn who_comes_last_has_the_session_whoever_is_let_in_last() {
    for version in VERSIONS {
        for is_here in [true, false] {
            let mut world = World::alone(Config::default());
            world.judge(|_| None);
            let early = world.open_with(&connect(version, "twin"));
            world.judge(|_| Some(Verdict::accept()));
            let late = world.resume(version, "twin");
            world.subscribe(late, "t", QoS::AtLeastOnce);
            if !is_here {
                world.cut(late);
            }
            let_in(&mut world, early);
            let expected = ReasonCode::SERVER_UNAVAILABLE;
            assert_eq!(world.farewell(early), Some(expected));
            assert_eq!(world.is_closed(late), !is_here);
            let again = world.resume(version, "twin");
            assert!(!world.is_closed(again));
            assert_eq!(world.statistics().subscriptions, 1);
        }
    }
}

#[test]
fn who_is_let_in_late_takes_over_from_who_came_before() {
    for version in VERSIONS {
        let mut world = World::alone(Config::default());
        let early = world.resume(version, "twin");
        world.judge(|_| None);
        let late = world.open_with(&lasting(version, "twin"));
        assert!(!world.is_closed(early));
        let_in(&mut world, late);
        assert!(world.is_closed(early));
        assert!(!world.is_closed(late));
    }
}

#[test]
fn clients_that_push_each_other_off_are_slowed_down_and_told_of_once() {
    for version in VERSIONS {
        let mut world = world(DuplicateClient::BackOff);
        let addresses = ["192.0.2.1:1", "192.0.2.2:2"];
        let mut refused = 0;
        let mut holder = come(&mut world, version, addresses[0]);
        for n in 1..100 {
            world.pass_ms(100);
            let newcomer = come(&mut world, version, addresses[n % 2]);
            if world.is_closed(newcomer) {
                assert_eq!(
                    world.farewell(newcomer),
                    Some(match version {
                        Version::V5 => ReasonCode::SERVER_BUSY,
                        Version::V3 | Version::V4 => ReasonCode::SERVER_UNAVAILABLE,
                    })
                );
                assert!(!world.is_closed(holder), "one of them works");
                refused += 1;
            } else {
                assert!(world.is_closed(holder));
                holder = newcomer;
            }
        }
        assert!(refused > 70, "{refused}");
        let told: Vec<u64> = world
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Flapping {
                    client_id,
                    tenant: None,
                    address,
                    newcomer,
                    takeovers: 6,
                    back_off_ms,
                } => {
                    let both = [address.unwrap().to_string(), newcomer.unwrap().to_string()];
                    assert!(
                        addresses
                            .iter()
                            .all(|address| both.iter().any(|b| b == address))
                    );
                    assert_eq!(&**client_id, "twin");
                    Some(*back_off_ms)
                }
                _ => None,
            })
            .collect();
        assert_eq!(told, [1_000, 2_000, 4_000, 8_000]);
    }
}

#[test]
fn a_client_that_reconnects_now_and_then_is_not_slowed_down() {
    let mut world = world(DuplicateClient::BackOff);
    for _ in 0..100 {
        let client = come(&mut world, Version::V5, "192.0.2.1:1");
        assert!(!world.is_closed(client));
        world.pass_ms(10_000);
    }
}
