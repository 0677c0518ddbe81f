//! What clients do, drawn at random, and told as a story when it goes wrong.

use quickcheck::{Arbitrary, Gen};
use whimbrel_core::codec::packet::{QoS, RetainHandling, Version};

/// Which version each client speaks, unless it comes with another one.
pub(crate) const VERSIONS: [Version; 4] = [Version::V5, Version::V4, Version::V5, Version::V3];

pub(crate) const TOPICS: [&str; 5] = ["a", "a/b", "a/c", "w/1", "$x/a"];

pub(crate) const FILTERS: [&str; 9] = [
    "a",
    "a/#",
    "a/+",
    "+/b",
    "#",
    "w/#",
    "$x/#",
    "$share/g/a/#",
    "$share/g/a/b",
];

/// A maximum packet size that suffices for everything but large messages.
pub(crate) const SMALL_BYTES: u32 = 80;

/// What CONNECT may say besides. What a version has no word for is not said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    /// Another version than its own.
    pub(crate) version: Option<Version>,
    pub(crate) keep_alive_s: u16,
    pub(crate) topic_alias_maximum: u16,
    /// Packets of more than [`SMALL_BYTES`] are not to be sent to it.
    pub(crate) is_small: bool,
    /// Acknowledgements are to say no more than their codes.
    pub(crate) is_terse: bool,
    pub(crate) will_expiry_s: Option<u32>,
}

/// A client comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enter {
    pub(crate) client: usize,
    pub(crate) clean: bool,
    pub(crate) expiry_s: u32,
    pub(crate) receive_maximum: u16,
    /// Its QoS, whether it is retained, and its delay in seconds.
    pub(crate) will: Option<(QoS, bool, u32)>,
    pub(crate) extras: Extras,
}

/// Its session stays for a minute, and it takes one message at a time.
impl Default for Enter {
    fn default() -> Self {
        Self {
            client: 0,
            clean: false,
            expiry_s: 60,
            receive_maximum: 1,
            will: None,
            extras: Extras::default(),
        }
    }
}

/// A client subscribes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    pub(crate) client: usize,
    pub(crate) filter: usize,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: RetainHandling,
    pub(crate) identifier: u32,
}

impl Default for Join {
    fn default() -> Self {
        Self {
            client: 0,
            filter: 0,
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
            identifier: 0,
        }
    }
}

/// A client publishes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Say {
    pub(crate) client: usize,
    pub(crate) topic: usize,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) is_empty: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) has_alias: bool,
    pub(crate) is_large: bool,
}

impl Default for Say {
    fn default() -> Self {
        Self {
            client: 0,
            topic: 0,
            qos: QoS::AtLeastOnce,
            retain: false,
            is_empty: false,
            expiry_s: None,
            has_alias: false,
            is_large: false,
        }
    }
}

/// One thing that happens. Numbers that are too large count from the beginning.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Connect(Enter),
    /// Somebody comes without a name, and leaves.
    ConnectNameless {
        version: Version,
        clean: bool,
    },
    Ping {
        client: usize,
    },
    Subscribe(Join),
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish(Say),
    /// The last QoS 2 message once more, as after a lost PUBREC.
    Repeat {
        client: usize,
    },
    /// PUBREL for the oldest QoS 2 message that has none.
    Release {
        client: usize,
    },
    /// The `nth` message that is open is acknowledged one step further.
    Acknowledge {
        client: usize,
        nth: usize,
    },
    /// The `nth` message that is open is acknowledged by this packet, whatever its turn is, and
    /// perhaps with an error in the words of 5.0.
    AcknowledgeAnyhow {
        client: usize,
        nth: usize,
        kind: usize,
        is_refused: bool,
    },
    /// What was acknowledged last, in the same way.
    AcknowledgeAgain {
        client: usize,
    },
    /// An acknowledgement of nothing.
    AcknowledgeNothing {
        client: usize,
        kind: usize,
    },
    Drop {
        client: usize,
    },
    Disconnect {
        client: usize,
        keeps_will: bool,
    },
    Pass {
        ms: u64,
    },
    Restart,
}

fn qos(g: &mut Gen) -> QoS {
    *g.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
        .unwrap()
}

fn version(g: &mut Gen) -> Version {
    *g.choose(&[Version::V3, Version::V4, Version::V5]).unwrap()
}

fn extras(g: &mut Gen) -> Extras {
    Extras {
        version: one_in(6, g).then(|| version(g)),
        keep_alive_s: *g.choose(&[0, 0, 0, 5, 30]).unwrap(),
        topic_alias_maximum: *g.choose(&[0, 0, 1, 3]).unwrap(),
        is_small: one_in(4, g),
        is_terse: one_in(3, g),
        will_expiry_s: one_in(3, g).then(|| *g.choose(&[4, 20]).unwrap()),
    }
}

fn one_in(count: usize, g: &mut Gen) -> bool {
    usize::arbitrary(g) % count == 0
}

impl Arbitrary for Operation {
    fn arbitrary(g: &mut Gen) -> Self {
        let client = usize::arbitrary(g) % VERSIONS.len();
        let filter = usize::arbitrary(g) % FILTERS.len();
        match u8::arbitrary(g) % 46 {
            0..=6 => Self::Connect(Enter {
                client,
                clean: one_in(3, g),
                expiry_s: *g.choose(&[0, 10, 60, u32::MAX, u32::MAX]).unwrap(),
                receive_maximum: *g.choose(&[1, 2, 100]).unwrap(),
                will: one_in(2, g).then(|| (qos(g), one_in(3, g), *g.choose(&[0, 5, 30]).unwrap())),
                extras: extras(g),
            }),
            7..=13 => Self::Subscribe(Join {
                client,
                filter,
                qos: qos(g),
                no_local: one_in(4, g),
                retain_as_published: one_in(2, g),
                retain_handling: *g
                    .choose(&[
                        RetainHandling::Send,
                        RetainHandling::SendIfNew,
                        RetainHandling::DoNotSend,
                    ])
                    .unwrap(),
                identifier: *g.choose(&[0, 1, 2, 300]).unwrap(),
            }),
            14 => Self::Unsubscribe { client, filter },
            15..=24 => Self::Publish(Say {
                client,
                topic: usize::arbitrary(g) % TOPICS.len(),
                qos: qos(g),
                retain: one_in(3, g),
                is_empty: one_in(6, g),
                expiry_s: one_in(5, g).then(|| *g.choose(&[4, 20]).unwrap()),
                has_alias: one_in(3, g),
                is_large: one_in(4, g),
            }),
            25 => Self::Repeat { client },
            26..=27 => Self::Release { client },
            28..=33 => Self::Acknowledge {
                client,
                nth: if one_in(3, g) {
                    usize::arbitrary(g) % 4
                } else {
                    0
                },
            },
            34 => Self::AcknowledgeNothing {
                client,
                kind: usize::arbitrary(g) % 4,
            },
            35 => Self::Drop { client },
            36 => Self::Disconnect {
                client,
                keeps_will: one_in(2, g),
            },
            37..=38 => Self::Pass {
                ms: *g.choose(&[700, 6_300, 11_100, 61_900]).unwrap(),
            },
            39..=40 => Self::AcknowledgeAnyhow {
                client,
                nth: usize::arbitrary(g) % 4,
                kind: usize::arbitrary(g) % 3,
                is_refused: one_in(2, g),
            },
            41..=42 => Self::AcknowledgeAgain { client },
            43 => Self::ConnectNameless {
                version: version(g),
                clean: one_in(2, g),
            },
            44 => Self::Ping { client },
            _ => Self::Restart,
        }
    }
}
