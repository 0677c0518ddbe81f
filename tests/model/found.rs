//! What random operations have found, as short as they were told: the broker's faults, and the
//! model's.

use crate::operation::{Enter, Extras, Join, Operation, Say};
use crate::{Defect, Play};
use whimbrel_core::codec::packet::{QoS, RetainHandling, Version};

/// Everybody hears what the model says.
#[track_caller]
fn tell(story: &[Operation]) {
    Play::new(Defect::None).run(story).expect("as it is told");
}

/// Found by the model: who got a message of a group in the place of a member that was gone did not
/// hear that it was published to be retained, although it had asked for that.
#[test]
fn a_message_that_goes_to_another_member_says_that_it_was_retained() {
    let enter = |client, expiry_s| {
        Operation::Connect(Enter {
            client,
            clean: true,
            expiry_s,
            ..Enter::default()
        })
    };
    let join = |client, retain_as_published| {
        Operation::Subscribe(Join {
            client,
            filter: 7,
            retain_as_published,
            retain_handling: RetainHandling::DoNotSend,
            ..Join::default()
        })
    };
    let say = Operation::Publish(Say {
        client: 2,
        topic: 1,
        retain: true,
        ..Say::default()
    });
    let story = [
        enter(0, 60),
        enter(1, 0),
        enter(2, 60),
        join(0, false),
        join(2, true),
        say,
        enter(0, 60),
    ];
    tell(&story);
}

/// Found by the model: on a connection whose session ends with it, a new QoS 2 message was sent at
/// once, while the one before it, which came again, waited for the log.
#[test]
fn what_comes_again_is_not_overtaken_while_it_waits_for_the_log() {
    let enter = |client, clean, expiry_s, receive_maximum, will| {
        Operation::Connect(Enter {
            client,
            clean,
            expiry_s,
            receive_maximum,
            will,
            ..Enter::default()
        })
    };
    let subscribe = |filter| {
        Operation::Subscribe(Join {
            filter,
            qos: QoS::ExactlyOnce,
            ..Join::default()
        })
    };
    let story = [
        enter(0, true, u32::MAX, 1, None),
        enter(1, true, 0, 1, Some((QoS::ExactlyOnce, true, 0))),
        Operation::Drop { client: 1 },
        subscribe(5),
        subscribe(4),
        enter(0, false, 0, 100, None),
    ];
    tell(&story);
}

/// Found by the model, and its fault: a retained message for which the window had no room
/// was replaced before it had, and is not owed any more.
#[test]
fn what_is_retained_no_longer_need_not_be_sent() {
    let connect = |client, receive_maximum| {
        Operation::Connect(Enter {
            client,
            expiry_s: u32::MAX,
            receive_maximum,
            ..Enter::default()
        })
    };
    let publish = |client, topic, qos| {
        Operation::Publish(Say {
            client,
            topic,
            qos,
            retain: true,
            ..Say::default()
        })
    };
    let subscribe = |filter| {
        Operation::Subscribe(Join {
            client: 2,
            filter,
            identifier: 300,
            ..Join::default()
        })
    };
    let story = [
        connect(1, 2),
        publish(1, 3, QoS::AtLeastOnce),
        connect(2, 2),
        subscribe(3),
        publish(1, 1, QoS::AtLeastOnce),
        subscribe(4),
        publish(1, 3, QoS::AtMostOnce),
        connect(2, 100),
    ];
    tell(&story);
}

/// Found by the model: what was sent to a member of a group in time, and not acknowledged, went to
/// another one when that one's session ended, although it had expired by then.
#[test]
fn what_has_expired_does_not_go_to_another_member() {
    let enter = |client, clean, expiry_s| {
        Operation::Connect(Enter {
            client,
            clean,
            expiry_s,
            receive_maximum: 100,
            ..Enter::default()
        })
    };
    let join = |client| {
        Operation::Subscribe(Join {
            client,
            filter: 7,
            ..Join::default()
        })
    };
    let say = Operation::Publish(Say {
        client: 2,
        expiry_s: Some(20),
        ..Say::default()
    });
    let story = [
        enter(2, false, u32::MAX),
        enter(3, false, u32::MAX),
        join(3),
        join(2),
        say.clone(),
        say,
        Operation::Pass { ms: 61_900 },
        enter(2, false, 0),
        enter(3, true, 0),
    ];
    tell(&story);
}

/// Found by the model, and its fault: who is in two groups, and has room for one message, got the
/// one that another member could have got as well; the other one waits.
#[test]
fn who_is_in_two_groups_may_get_either_message_first() {
    let enter = |client, receive_maximum| {
        Operation::Connect(Enter {
            client,
            clean: true,
            expiry_s: 10,
            receive_maximum,
            ..Enter::default()
        })
    };
    let join = |client, filter| {
        Operation::Subscribe(Join {
            client,
            filter,
            retain_handling: RetainHandling::DoNotSend,
            identifier: 1,
            ..Join::default()
        })
    };
    let say = Operation::Publish(Say {
        client: 2,
        topic: 1,
        ..Say::default()
    });
    let story = [
        enter(2, 100),
        enter(0, 1),
        join(0, 8),
        join(2, 8),
        join(0, 7),
        say,
    ];
    tell(&story);
}

/// Found by the model: a message that had its place in the window, and turned out to be too large
/// when its record was in the log, left what waited behind it waiting.
#[test]
fn what_waits_behind_a_message_that_is_too_large_is_sent() {
    let enter = |client, clean, will, is_small| {
        Operation::Connect(Enter {
            client,
            clean,
            expiry_s: u32::MAX,
            will,
            extras: Extras {
                is_small,
                ..Extras::default()
            },
            ..Enter::default()
        })
    };
    let say = Operation::Publish(Say {
        client: 2,
        topic: 1,
        qos: QoS::ExactlyOnce,
        retain: true,
        has_alias: true,
        is_large: true,
        ..Say::default()
    });
    let subscribe = Operation::Subscribe(Join {
        client: 2,
        filter: 4,
        qos: QoS::ExactlyOnce,
        retain_as_published: true,
        identifier: 2,
        ..Join::default()
    });
    let story = [
        enter(1, false, Some((QoS::AtLeastOnce, true, 0)), false),
        enter(2, true, None, true),
        say,
        enter(1, false, None, false),
        subscribe,
    ];
    tell(&story);
}

/// Found by the model: who gets a message by a subscription and by a group, and first hears of both
/// in 3.1.1, was taken for having got the other one when its identifiers came with 5.0.
#[test]
fn which_of_two_alike_it_was_shows_when_it_comes_again() {
    let enter = |client, receive_maximum, version| {
        Operation::Connect(Enter {
            client,
            receive_maximum,
            extras: Extras {
                version,
                ..Extras::default()
            },
            ..Enter::default()
        })
    };
    let join = |filter, qos, identifier| {
        Operation::Subscribe(Join {
            filter,
            qos,
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
            identifier,
            ..Join::default()
        })
    };
    let say = |qos| {
        Operation::Publish(Say {
            client: 1,
            topic: 1,
            qos,
            is_empty: true,
            ..Say::default()
        })
    };
    let story = [
        enter(0, 1, None),
        enter(1, 100, None),
        join(8, QoS::ExactlyOnce, 300),
        join(1, QoS::AtLeastOnce, 1),
        say(QoS::AtLeastOnce),
        say(QoS::ExactlyOnce),
        enter(0, 1, Some(Version::V4)),
        enter(0, 2, None),
    ];
    tell(&story);
}

/// Found by the model: of two alike, a member was taken for having got the one that the other
/// member did get, since one that nobody had to get was at hand for that.
#[test]
fn what_has_to_come_goes_before_what_may() {
    let enter = |client, clean| {
        Operation::Connect(Enter {
            client,
            clean,
            receive_maximum: 2,
            ..Enter::default()
        })
    };
    let join = |client, filter, qos| {
        Operation::Subscribe(Join {
            client,
            filter,
            qos,
            retain_handling: RetainHandling::SendIfNew,
            ..Join::default()
        })
    };
    let say = |client, qos| {
        Operation::Publish(Say {
            client,
            topic: 1,
            qos,
            is_empty: true,
            ..Say::default()
        })
    };
    let story = [
        enter(1, false),
        join(1, 7, QoS::AtMostOnce),
        Operation::Restart,
        enter(0, false),
        join(0, 8, QoS::AtLeastOnce),
        enter(3, true),
        say(3, QoS::AtMostOnce),
        join(0, 7, QoS::ExactlyOnce),
        enter(1, false),
        say(1, QoS::AtLeastOnce),
    ];
    tell(&story);
}

/// Found by the model: a QoS 2 message that had waited for the log was taken for having begun
/// behind the one that overtook it, and for being owed when it was passed over.
#[test]
fn what_waited_for_the_log_began_before_what_overtook_it() {
    let enter = |client, receive_maximum, version, is_small| {
        Operation::Connect(Enter {
            client,
            receive_maximum,
            extras: Extras {
                version,
                is_small,
                ..Extras::default()
            },
            ..Enter::default()
        })
    };
    let say = |topic, qos, is_empty| {
        Operation::Publish(Say {
            client: 1,
            topic,
            qos,
            is_empty,
            is_large: true,
            ..Say::default()
        })
    };
    let story = [
        enter(1, 1, None, false),
        enter(0, 1, None, false),
        Operation::Subscribe(Join {
            filter: 1,
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_handling: RetainHandling::SendIfNew,
            ..Join::default()
        }),
        say(0, QoS::AtLeastOnce, true),
        say(0, QoS::ExactlyOnce, false),
        say(2, QoS::AtLeastOnce, true),
        enter(0, 1, Some(Version::V4), false),
        enter(0, 1, None, true),
        Operation::AcknowledgeAnyhow {
            client: 0,
            nth: 0,
            kind: 0,
            is_refused: false,
        },
        enter(0, 2, None, false),
    ];
    tell(&story);
}

/// Found by the model: what was retained when somebody subscribed, and waits for room, was owed
/// with QoS 0 also after something else was retained.
#[test]
fn what_is_retained_no_longer_need_not_be_sent_at_qos_0_either() {
    let enter = |client, clean, qos, keep_alive_s, version| {
        Operation::Connect(Enter {
            client,
            clean,
            will: Some((qos, true, 30)),
            extras: Extras {
                version,
                keep_alive_s,
                ..Extras::default()
            },
            ..Enter::default()
        })
    };
    let join = |filter| {
        Operation::Subscribe(Join {
            filter,
            qos: QoS::ExactlyOnce,
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
            ..Join::default()
        })
    };
    let say = |client| {
        Operation::Publish(Say {
            client,
            topic: 2,
            is_empty: true,
            expiry_s: Some(4),
            ..Say::default()
        })
    };
    let story = [
        enter(0, false, QoS::ExactlyOnce, 0, None),
        enter(1, true, QoS::AtMostOnce, 0, None),
        join(1),
        say(0),
        enter(1, false, QoS::AtLeastOnce, 5, Some(Version::V5)),
        say(1),
        join(5),
        Operation::Pass { ms: 60_000 },
        Operation::Acknowledge { client: 0, nth: 0 },
        Operation::Acknowledge { client: 0, nth: 0 },
    ];
    tell(&story);
}

/// Found by the model: of two groups of one message, the first chose who was the only one of the
/// other that was there, and had room for one.
#[test]
fn who_is_chosen_by_one_group_may_have_no_room_for_the_other() {
    let enter = |client, clean| {
        Operation::Connect(Enter {
            client,
            clean,
            ..Enter::default()
        })
    };
    let join = |client, filter| {
        Operation::Subscribe(Join {
            client,
            filter,
            retain_handling: RetainHandling::SendIfNew,
            ..Join::default()
        })
    };
    let say = Operation::Publish(Say {
        topic: 1,
        ..Say::default()
    });
    let story = [
        enter(1, false),
        enter(0, false),
        enter(3, false),
        join(1, 7),
        join(0, 8),
        join(3, 8),
        join(0, 7),
        Operation::Drop { client: 1 },
        say,
    ];
    tell(&story);
}

/// Found by the model: of two alike that a member may have got, one had expired.
#[test]
fn what_comes_is_not_what_has_expired() {
    let enter = |client| {
        Operation::Connect(Enter {
            client,
            receive_maximum: 2,
            ..Enter::default()
        })
    };
    let join = |filter, qos| {
        Operation::Subscribe(Join {
            client: 1,
            filter,
            qos,
            retain_handling: RetainHandling::DoNotSend,
            ..Join::default()
        })
    };
    let say = |expiry_s| {
        Operation::Publish(Say {
            topic: 1,
            qos: QoS::ExactlyOnce,
            is_empty: true,
            expiry_s,
            ..Say::default()
        })
    };
    let story = [
        enter(1),
        enter(0),
        join(7, QoS::AtLeastOnce),
        join(1, QoS::ExactlyOnce),
        Operation::Drop { client: 1 },
        say(Some(4)),
        Operation::Pass { ms: 6_000 },
        enter(1),
        say(None),
    ];
    tell(&story);
}
