//! Where we differ from the data, and why: the standard decides.

/// Cases of one group that go otherwise here.
pub(crate) struct Disagreement {
    pub(crate) group: &'static str,
    pub(crate) names: &'static [&'static str],
    /// What the standard says.
    pub(crate) reason: &'static str,
}

const CONTROL_CHARACTERS: &str = "MQTT 5.0 §1.5.4: such characters SHOULD NOT be sent, and a receiver MAY treat them as an error; \
     only U+0000 and surrogates are never allowed";

const LEVEL_3_1: &str = "MQTT 3.1 §3.1: the bit is not used and reserved for future use; we hold CONNECT of 3.1 to the zero \
     that later versions demand, which every known client sends";

const SUBSCRIPTION_IDENTIFIER: &str =
    "MQTT 5.0 §3.3.4: a client does not send subscription identifiers in PUBLISH";

const SESSION_EXPIRY: &str =
    "MQTT 5.0 §3.14.2.2.2: no session expiry in DISCONNECT when CONNECT had none";

const NO_METHOD: &str = "MQTT 5.0 §4.12: no AUTH when CONNECT named no method";

const BRIDGE: &str =
    "no version has that protocol level; the upper bit is a private sign of mosquitto";

/// Cases of mosquitto.
pub(crate) const MOSQUITTO: &[Disagreement] = &[
    Disagreement {
        group: "CONNECT: v3.1 CONNECT",
        names: &["10 ok", "14 ok"],
        reason: LEVEL_3_1,
    },
    Disagreement {
        group: "CONNECT: v3.1.1 CONNECT",
        names: &[
            "10 Will topic with U+0001",
            "10 Will topic with U+001F",
            "10 Will topic with U+007F",
            "10 Will topic with U+009F",
            "10 Client ID with U+0001",
            "10 Client ID with U+001F",
            "10 Client ID with U+007F",
            "10 Client ID with U+009F",
            "10 Username with 0x0001",
            "10 Username with 0x001F",
            "10 Username with 0x007F",
            "10 Username with 0x009F",
        ],
        reason: CONTROL_CHARACTERS,
    },
    Disagreement {
        group: "CONNECT: v5.0 CONNECT",
        names: &[
            "10 Client ID with U+0001",
            "10 Client ID with U+001F",
            "10 Client ID with U+007F",
            "10 Client ID with U+009F",
            "10 Username with 0x0001",
            "10 Username with 0x001F",
            "10 Username with 0x007F",
            "10 Username with 0x009F",
        ],
        reason: CONTROL_CHARACTERS,
    },
    Disagreement {
        group: "PUBLISH: v3.1.1 PUBLISH",
        names: &[
            "30 topic with U+0001",
            "30 topic with U+001F",
            "30 topic with U+007F",
            "30 topic with U+009F",
        ],
        reason: CONTROL_CHARACTERS,
    },
    Disagreement {
        group: "PUBLISH: v5.0 PUBLISH",
        names: &[
            "30 topic with U+0001",
            "30 topic with U+001F",
            "30 topic with U+007F",
            "30 topic with U+009F",
        ],
        reason: CONTROL_CHARACTERS,
    },
    Disagreement {
        group: "SUBSCRIBE: v3.1.1 SUBSCRIBE",
        names: &[
            "82 topic with U+0001",
            "82 topic with U+001F",
            "82 topic with U+007F",
            "82 topic with U+009F",
        ],
        reason: CONTROL_CHARACTERS,
    },
    Disagreement {
        group: "UNSUBSCRIBE: v3.1.1 UNSUBSCRIBE",
        names: &[
            "A2 topic with U+0001",
            "A2 topic with U+001F",
            "A2 topic with U+007F",
            "A2 topic with U+009F",
        ],
        reason: CONTROL_CHARACTERS,
    },
    Disagreement {
        group: "UNSUBSCRIBE: v5.0 UNSUBSCRIBE",
        names: &[
            "A2 topic with U+0001",
            "A2 topic with U+001F",
            "A2 topic with U+007F",
            "A2 topic with U+009F",
        ],
        reason: CONTROL_CHARACTERS,
    },
    Disagreement {
        group: "PUBLISH: v3.1.1 PUBLISH",
        names: &["34 QoS 2 Dup flow*3"],
        reason: "MQTT 3.1.1 §4.3.3: until PUBREL, each PUBLISH with that identifier is answered with PUBREC; theirs gives up at the third",
    },
    Disagreement {
        group: "PUBLISH: v5.0 PUBLISH",
        names: &["34 QoS 2 Dup flow*3"],
        reason: "MQTT 5.0 §4.3.3: until PUBREL, each PUBLISH with that identifier is answered with PUBREC; theirs gives up at the third",
    },
    Disagreement {
        group: "PUBLISH: v5.0 PUBLISH",
        names: &["PUBLISH with $ topic - connection/state"],
        reason: "MQTT 5.0 §4.7.2: the server's own topics are not for clients to publish to; theirs makes an exception for bridges",
    },
    Disagreement {
        group: "PUBLISH: v5.0 PUBLISH",
        names: &["PUBLISH with $ topic - share"],
        reason: "MQTT 5.0 §4.8.2: $share is a prefix of filters; as a topic name it is one like any other",
    },
];

/// Cases of mochi-mqtt, by description, version and first bytes.
pub(crate) const MOCHI: &[Disagreement] = &[
    Disagreement {
        group: "mqtt v5",
        names: &["5 304d0005612f622f633a010102000000"],
        reason: SUBSCRIPTION_IDENTIFIER,
    },
    Disagreement {
        group: "subscription identifiers",
        names: &["5 30170005612f622f63040b020b036865"],
        reason: SUBSCRIPTION_IDENTIFIER,
    },
    Disagreement {
        group: "mqtt v5 topic alias only",
        names: &["5 301100000323000168656c6c6f206d6f"],
        reason: "MQTT 5.0 §3.3.2.3.4: nothing has been set for that alias on this connection",
    },
    Disagreement {
        group: "dup",
        names: &["0 380a0003612f6268656c6c6f"],
        reason: "MQTT 5.0 §3.3.1.1: DUP is 0 at QoS 0",
    },
    Disagreement {
        group: "mqtt5",
        names: &["5 e016001411000000781f000c64697363"],
        reason: SESSION_EXPIRY,
    },
    Disagreement {
        group: "mqtt5 disconnect with will message",
        names: &["5 e026042411000000781f001c64697363"],
        reason: SESSION_EXPIRY,
    },
    Disagreement {
        group: "auth",
        names: &["5 f02f002d1500055348412d3116000961"],
        reason: NO_METHOD,
    },
];

/// Cases of mqtt-packet, by description, version and first bytes.
pub(crate) const MQTT_PACKET: &[Disagreement] = &[
    Disagreement {
        group: "connect MQTT bridge 131",
        names: &["0 101200064d51497364708300001e0004"],
        reason: BRIDGE,
    },
    Disagreement {
        group: "connect MQTT bridge 132",
        names: &["0 101200064d51497364708400001e0004"],
        reason: BRIDGE,
    },
    Disagreement {
        group: "Cannot parse username",
        names: &["0 102000064d514973647003f6001e0005"],
        reason: "MQTT 3.1 §3.1: a packet may end before the user name that its flags announce",
    },
    Disagreement {
        group: "publish MQTT 5 properties",
        names: &["5 3d56000474657374000a490101020000"],
        reason: SUBSCRIPTION_IDENTIFIER,
    },
    Disagreement {
        group: "publish MQTT 5 with multiple same properties",
        names: &["5 3d40000474657374000a330101020000"],
        reason: SUBSCRIPTION_IDENTIFIER,
    },
    Disagreement {
        group: "publish MQTT 5 properties with 0-4 byte varbyte",
        names: &["5 3d1b000474657374000a0e01000b8001"],
        reason: SUBSCRIPTION_IDENTIFIER,
    },
    Disagreement {
        group: "publish MQTT 5 properties with max value varbyte",
        names: &["5 3d16000474657374000a0901000b010b"],
        reason: SUBSCRIPTION_IDENTIFIER,
    },
    Disagreement {
        group: "disconnect MQTT 5",
        names: &["5 e022002011000000911f000474657374"],
        reason: SESSION_EXPIRY,
    },
    Disagreement {
        group: "auth MQTT 5",
        names: &["5 f0240022150004746573741600040001"],
        reason: NO_METHOD,
    },
    Disagreement {
        group: "minimal Success AUTH with reason code and property length omitted",
        names: &["5 f000"],
        reason: NO_METHOD,
    },
];
