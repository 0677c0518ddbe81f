//! Class 8: where something is missing or broken, nothing opens.

use crate::{enter_as, rules, with_rules};
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_rules::{Format, parse};

const DENIED: u8 = ReasonCode::NOT_AUTHORIZED.0;

#[test]
fn an_empty_file_allows_nothing() {
    let empty = [
        ("", Format::Toml),
        ("# nothing\n", Format::Toml),
        ("", Format::Mosquitto),
    ];
    for (text, format) in empty {
        assert_eq!(parse(text, format, &[]).unwrap().rules, []);
    }
    let mut world = with_rules("");
    let client = enter_as(&mut world, Version::V5, "c", "u");
    assert_eq!(world.subscribe(client, "a", QoS::AtMostOnce), DENIED);
    world.publish(client, "a", b"x", QoS::AtLeastOnce);
    assert_eq!(world.hear(client).ack().2.0, DENIED);
}

#[test]
fn a_file_with_one_mistake_is_no_rules_at_all() {
    const TOML: &str = "[[rule]]\nallow = \"all\"\ntopics = \"#\"\n";
    for (good, format, bad) in [
        (TOML, Format::Toml, "[[rule]]\nallow = \"all\"\n"),
        (TOML, Format::Toml, "[[rule]]\ntopics = \"a\"\n"),
        (
            TOML,
            Format::Toml,
            "[[rule]]\nallow = \"all\"\ntopics = \"a\"\nuser = \"u\"\n",
        ),
        (
            TOML,
            Format::Toml,
            "[[rule]]\ndeny = \"all\"\ntopics = \"a\"\nusers = []\n",
        ),
        (
            TOML,
            Format::Toml,
            "[[rules]]\ndeny = \"all\"\ntopics = \"a\"\n",
        ),
        (TOML, Format::Toml, "deny"),
        (TOML, Format::Mosquitto, ""),
        ("topic #\n", Format::Mosquitto, "user\n"),
        ("topic #\n", Format::Mosquitto, "topic deny\tx/#/y\n"),
        ("topic #\n", Format::Mosquitto, "pattern\n"),
        ("topic #\n", Format::Mosquitto, "deny topic a\n"),
    ] {
        assert!(
            parse(&format!("{good}{bad}"), format, &[]).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn rules_that_go_away_on_reload_leave_the_others_in_force() {
    // What the program does with a file that is gone or broken: it keeps what it has. Here, that
    // rules without any rule are not the same as no rules.
    let mut world = with_rules("[[rule]]\nallow = \"all\"\ntopics = \"a\"\n");
    let client = enter_as(&mut world, Version::V5, "c", "u");
    world.broker.set_rules(world.now, Some(rules("")));
    world.run();
    world.publish(client, "a", b"x", QoS::AtLeastOnce);
    assert_eq!(world.hear(client).ack().2.0, DENIED);
}
