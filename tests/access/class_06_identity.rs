//! Class 6: identities that try to be more than a name in the patterns of rules.

use crate::{connect_as, with_rules};
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_tests::world::World;

const OWN: &str = "
[[rule]]
allow = \"all\"
topics = [\"users/%u/#\", \"clients/%c/#\", \"%c/own\", \"d-%u-x/a\"]
";

/// Names that are wildcards, levels, or begin something else.
const NAMES: [&str; 20] = [
    "+",
    "#",
    "/",
    "a/b",
    "+/+",
    "a/#",
    "../b",
    "$SYS",
    "$share/g",
    "a+",
    "#a",
    "%u",
    "%c",
    "{u}",
    "${username}",
    "a\nb",
    "a\rb",
    "a%2Fb",
    "\u{7f}",
    "\u{2028}",
];

const DENIED: u8 = ReasonCode::NOT_AUTHORIZED.0;

/// What of this a client of that name may subscribe to.
fn granted(world: &mut World, name: &str, filters: &[&str]) -> Vec<String> {
    let client = world.open_with(&connect_as(Version::V5, name, name));
    if world.is_closed(client) {
        return Vec::new();
    }
    world.hear(client);
    let granted = |filter: &&&str| world.subscribe(client, filter, QoS::AtMostOnce) != DENIED;
    filters
        .iter()
        .filter(granted)
        .map(|filter| (*filter).to_owned())
        .collect()
}

#[test]
fn a_name_never_makes_a_wildcard_or_a_level() {
    let others = [
        "users/victim/#",
        "users/+/x",
        "users/#",
        "clients/victim",
        "clients/#",
        "#",
        "+/own",
        "victim/own",
        "users/a/b",
        "users/a/b/c",
        "users/b",
        "$SYS/own",
        "$SYS/x",
        "clients/a/b/x",
        "$share/g/users/#",
        "d-a/b-x/a",
    ];
    let mut world = with_rules(OWN);
    for name in NAMES {
        assert_eq!(
            granted(&mut world, name, &others),
            Vec::<String>::new(),
            "{name:?}"
        );
    }
}

#[test]
fn a_name_without_such_characters_stands_for_itself_alone() {
    let mut world = with_rules(OWN);
    for name in ["%u", "%c", "{u}", "a%2Fb", "..", "\u{2028}"] {
        let own = format!("users/{name}/#");
        let filters = [&*own, "users/victim/#", "users/x/#"];
        assert_eq!(
            granted(&mut world, name, &filters),
            std::slice::from_ref(&own),
            "{name:?}"
        );
    }
}

#[test]
fn a_name_that_fits_nowhere_does_not_slip_through_a_denial() {
    let mut world = with_rules(
        "
[[rule]]
deny = \"all\"
topics = [\"quarantine/%u/#\", \"%c/closed\"]
[[rule]]
allow = \"all\"
topics = \"#\"
",
    );
    for name in ["+", "#", "a/b", "$SYS", "a+"] {
        let filters = [
            "quarantine/a",
            "quarantine/a/b/c",
            "quarantine/#",
            "a/b/closed",
        ];
        let granted = granted(&mut world, name, &filters);
        // `$SYS` fits as a user within a topic, and not as a client identifier in front of one;
        // then everything is denied that `%c/closed` might have meant.
        assert_eq!(granted, Vec::<String>::new(), "{name}");
    }
    let ordinary = granted(
        &mut world,
        "u",
        &["quarantine/u/x", "quarantine/v", "u/closed", "v"],
    );
    assert_eq!(ordinary, ["quarantine/v", "v"]);
}

#[test]
fn who_has_no_name_has_no_place_named_after_it() {
    let mut world = with_rules(OWN);
    let (nobody, _) = world.enter(&whimbrel_tests::world::connect(Version::V5, "c"));
    for filter in ["users//#", "users/#", "d--x/a"] {
        assert_eq!(world.subscribe(nobody, filter, QoS::AtMostOnce), DENIED);
    }
    assert_eq!(world.subscribe(nobody, "clients/c/#", QoS::AtMostOnce), 0);
    let (empty, _) = world.enter(&connect_as(Version::V5, "d", ""));
    assert_eq!(world.subscribe(empty, "users//x", QoS::AtMostOnce), DENIED);
}
