//! The table of properties, written down once more, and what can be asked of a property list.

use crate::notation::bytes;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::codec::{Properties, PropertyContext};
use whimbrel_core::error::{Malformed, Violation};

/// The table of MQTT 5.0 §2.2.2.2, written down once more: which property may stand where.
#[test]
fn every_property_stands_where_it_belongs_and_nowhere_else() {
    use PropertyContext as C;
    let contexts = [
        C::Will,
        C::Connect,
        C::ConnAck,
        C::Publish,
        C::PubAck,
        C::PubRec,
        C::PubRel,
        C::PubComp,
        C::Subscribe,
        C::SubAck,
        C::Unsubscribe,
        C::UnsubAck,
        C::Disconnect,
        C::Auth,
    ];
    let answers = [
        C::ConnAck,
        C::PubAck,
        C::PubRec,
        C::PubRel,
        C::PubComp,
        C::SubAck,
        C::UnsubAck,
        C::Disconnect,
        C::Auth,
    ];
    let message: &[C] = &[C::Publish, C::Will];
    let both: &[C] = &[C::Connect, C::ConnAck];
    let method = "15 \"m\"";
    let table: &[(&str, &[C])] = &[
        ("01 00", message),
        ("02 00000000", message),
        ("03 \"\"", message),
        ("08 \"a\"", message),
        ("09 \"\"", message),
        ("0B 01", &[C::Publish, C::Subscribe]),
        ("11 00000000", &[C::Connect, C::ConnAck, C::Disconnect]),
        ("12 \"\"", &[C::ConnAck]),
        ("13 0000", &[C::ConnAck]),
        (method, &[C::Connect, C::ConnAck, C::Auth]),
        ("17 01", &[C::Connect]),
        ("18 00000000", &[C::Will]),
        ("19 01", &[C::Connect]),
        ("1A \"\"", &[C::ConnAck]),
        ("1C \"\"", &[C::ConnAck, C::Disconnect]),
        ("1F \"\"", &answers),
        ("21 0001", both),
        ("22 0000", both),
        ("23 0001", &[C::Publish]),
        ("24 01", &[C::ConnAck]),
        ("25 01", &[C::ConnAck]),
        ("26 \"\" \"\"", &contexts),
        ("27 00000001", both),
        ("28 01", &[C::ConnAck]),
        ("29 01", &[C::ConnAck]),
        ("2A 01", &[C::ConnAck]),
    ];
    for (property, allowed) in table {
        let once = bytes(property);
        let twice = bytes(&format!("{property} {property}"));
        for context in contexts {
            let belongs = allowed.contains(&context);
            let expected = if belongs {
                Ok(())
            } else {
                Err(Malformed::Property.into())
            };
            let result = Properties::decode(&once, context).map(drop);
            assert_eq!(result, expected, "{property} in {context:?}");
            let may_repeat = once[0] == 0x26 || (once[0] == 0x0B && context == C::Publish);
            let expected = match belongs {
                true if may_repeat => Ok(()),
                true => Err(Violation::PropertyRepeated),
                false => Err(Malformed::Property.into()),
            };
            let result = Properties::decode(&twice, context).map(drop);
            assert_eq!(result, expected, "{property} twice in {context:?}");
        }
    }
    for id in (0..=u8::MAX).filter(|id| *id != 0x16) {
        let known = table.iter().any(|(property, _)| bytes(property)[0] == id);
        let result = Properties::decode(&[id], PropertyContext::ConnAck).map(drop);
        if !known {
            assert_eq!(result, Err(Malformed::Property.into()), "{id:#04x}");
        }
    }
}

#[test]
fn getters_find_what_is_there() {
    let list = bytes(
        "21 0014 27 00010000 22 000A 11 0000003C 24 01 25 00 12 \"auto\" 13 001E 1A \"info\" \
         1C \"other\" 1F \"why\" 28 00 29 01 2A 00 15 \"SCRAM\" 16 \"data\" 26 \"k\" \"v\" 26 \"l\" \"w\"",
    );
    let properties = Properties::decode(&list, PropertyContext::ConnAck).expect("good");
    assert_eq!(properties.receive_maximum(), Some(20));
    assert_eq!(properties.maximum_packet_size(), Some(65_536));
    assert_eq!(properties.topic_alias_maximum(), Some(10));
    assert_eq!(properties.session_expiry_interval(), Some(60));
    assert_eq!(properties.maximum_qos(), Some(QoS::AtLeastOnce));
    assert_eq!(properties.retain_available(), Some(false));
    assert_eq!(properties.assigned_client_identifier(), Some("auto"));
    assert_eq!(properties.server_keep_alive(), Some(30));
    assert_eq!(properties.response_information(), Some("info"));
    assert_eq!(properties.server_reference(), Some("other"));
    assert_eq!(properties.reason_string(), Some("why"));
    assert_eq!(properties.wildcard_subscription_available(), Some(false));
    assert_eq!(properties.subscription_identifier_available(), Some(true));
    assert_eq!(properties.shared_subscription_available(), Some(false));
    assert_eq!(properties.authentication_method(), Some("SCRAM"));
    assert_eq!(properties.authentication_data(), Some(&b"data"[..]));
    assert_eq!(properties.user_property(), Some(("k", "v")));
    assert_eq!(properties.user_property_count(), 2);
    let pairs: Vec<_> = properties.user_properties().collect();
    assert_eq!(pairs, [("k", "v"), ("l", "w")]);
    assert_eq!(properties.topic_alias(), None);
    assert_eq!(properties.iter().count(), 18);

    let list = bytes("01 01 02 00000005 03 \"text\" 08 \"re\" 09 \"id\" 0B 05 0B 06 23 0007");
    let properties = Properties::decode(&list, PropertyContext::Publish).expect("good");
    assert_eq!(properties.payload_format_indicator(), Some(true));
    assert_eq!(properties.message_expiry_interval(), Some(5));
    assert_eq!(properties.content_type(), Some("text"));
    assert_eq!(properties.response_topic(), Some("re"));
    assert_eq!(properties.correlation_data(), Some(&b"id"[..]));
    assert_eq!(properties.subscription_identifier(), Some(5));
    let identifiers: Vec<_> = properties.subscription_identifiers().collect();
    assert_eq!(identifiers, [5, 6]);
    assert_eq!(properties.topic_alias(), Some(7));
    assert_eq!(properties.user_property_count(), 0);

    let list = bytes("17 00 19 01");
    let properties = Properties::decode(&list, PropertyContext::Connect).expect("good");
    assert_eq!(properties.request_problem_information(), Some(false));
    assert_eq!(properties.request_response_information(), Some(true));
    let list = bytes("18 0000000A");
    let properties = Properties::decode(&list, PropertyContext::Will).expect("good");
    assert_eq!(properties.will_delay_interval(), Some(10));
}
