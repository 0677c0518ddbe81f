//! Class 9: topics that begin with `$`.

use crate::{enter_as, with_rules};
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{QoS, Version};

const DENIED: u8 = ReasonCode::NOT_AUTHORIZED.0;

#[test]
fn a_rule_that_allows_everything_allows_no_dollar_topics() {
    let mut world = with_rules("[[rule]]\nallow = \"all\"\ntopics = [\"#\", \"+/x\"]\n");
    let client = enter_as(&mut world, Version::V5, "c", "u");
    for filter in ["$SYS/#", "$x/x", "$share/g/$SYS/#", "$SYS/+/x"] {
        assert_eq!(
            world.subscribe(client, filter, QoS::AtMostOnce),
            DENIED,
            "{filter}"
        );
    }
    for topic in ["$x/x", "$SYS/a", "$CONTROL/a"] {
        world.publish(client, topic, b"x", QoS::AtLeastOnce);
        assert_eq!(world.hear(client).ack().2.0, DENIED, "{topic}");
    }
    assert_eq!(world.subscribe(client, "#", QoS::AtMostOnce), 0);
}

#[test]
fn a_rule_that_denies_everything_denies_dollar_topics() {
    let mut world = with_rules(
        "
[[rule]]
deny = \"all\"
topics = \"#\"
users = \"mallory\"
[[rule]]
allow = \"all\"
topics = [\"$SYS/#\", \"$x/#\", \"#\"]
",
    );
    let mallory = enter_as(&mut world, Version::V5, "m", "mallory");
    let alice = enter_as(&mut world, Version::V5, "a", "alice");
    for filter in ["$SYS/#", "$x/a", "#", "a"] {
        assert_eq!(
            world.subscribe(mallory, filter, QoS::AtMostOnce),
            DENIED,
            "{filter}"
        );
        assert_eq!(
            world.subscribe(alice, filter, QoS::AtMostOnce),
            0,
            "{filter}"
        );
    }
}

#[test]
fn what_is_below_sys_is_nobodys_to_publish() {
    let mut world = with_rules("[[rule]]\nallow = \"all\"\ntopics = [\"$SYS/#\", \"#\"]\n");
    let client = enter_as(&mut world, Version::V5, "c", "u");
    for topic in ["$SYS", "$SYS/broker/version"] {
        world.publish(client, topic, b"forged", QoS::AtLeastOnce);
        assert_eq!(world.hear(client).ack().2.0, DENIED);
    }
}
