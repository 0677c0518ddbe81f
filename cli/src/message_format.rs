//! How `whimbrel sub` writes a message.

use crate::runtime::client::Message;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The payload as it is.
    Plain,
    /// The payload in hexadecimal digits.
    Hex,
    /// One JSON object.
    Json,
}

impl Format {
    /// Appends one message with its line end. JSON always names the topic.
    pub(crate) fn write(self, message: &Message, with_topic: bool, out: &mut Vec<u8>) {
        if with_topic && self != Self::Json {
            out.extend_from_slice(message.topic.as_bytes());
            out.push(b' ');
        }
        match self {
            Self::Plain => out.extend_from_slice(&message.payload),
            Self::Hex => out.extend_from_slice(hex(&message.payload).as_bytes()),
            Self::Json => out.extend_from_slice(json(message, SystemTime::now()).as_bytes()),
        }
        out.push(b'\n');
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn json(message: &Message, time: SystemTime) -> String {
    let mut object = Object::new();
    object.string("time", &rfc3339(time));
    object.string("topic", &message.topic);
    object.raw("qos", message.qos as u8);
    object.raw("retain", message.retain);
    object.bytes("payload", &message.payload);
    if !message.properties.is_empty() {
        object.raw("properties", properties(message));
    }
    object.end()
}

/// Properties by their names in snake case; those that may be there several times as lists.
fn properties(message: &Message) -> String {
    let mut object = Object::new();
    let properties = message.properties.as_properties();
    if let Some(utf8) = properties.payload_format_indicator() {
        object.raw("payload_format_indicator", u8::from(utf8));
    }
    if let Some(seconds) = properties.message_expiry_interval() {
        object.raw("message_expiry_interval", seconds);
    }
    if let Some(content_type) = properties.content_type() {
        object.string("content_type", content_type);
    }
    if let Some(topic) = properties.response_topic() {
        object.string("response_topic", topic);
    }
    if let Some(data) = properties.correlation_data() {
        object.bytes("correlation_data", data);
    }
    let identifiers: Vec<_> = properties
        .subscription_identifiers()
        .map(|identifier| identifier.to_string())
        .collect();
    if !identifiers.is_empty() {
        object.raw("subscription_identifiers", list(&identifiers));
    }
    let user: Vec<_> = properties
        .user_properties()
        .map(|(name, value)| list(&[quoted(name), quoted(value)]))
        .collect();
    if !user.is_empty() {
        object.raw("user_properties", list(&user));
    }
    object.end()
}

fn list(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}

/// A JSON object in the making.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    /// A value that is JSON already.
    fn raw(&mut self, name: &str, value: impl std::fmt::Display) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "{}:{value}", quoted(name));
    }

    fn string(&mut self, name: &str, value: &str) {
        self.raw(name, quoted(value));
    }

    /// A string where the bytes are one, and base64 under another name where they are not.
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.string(name, text),
            Err(_) => self.string(&format!("{name}_base64"), &base64(bytes)),
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit) & 63) as usize;
            // A group of n bytes is n + 1 digits.
            text.push(if digit <= group.len() {
                char::from(DIGITS[index])
            } else {
                '='
            });
        }
    }
    text
}

/// In UTC, with milliseconds.
fn rfc3339(time: SystemTime) -> String {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    let since_1970 = since_1970.unwrap_or(Duration::ZERO);
    let seconds = since_1970.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        since_1970.subsec_millis(),
    )
}

/// Year, month and day of a day counted from 1970-01-01. Years begin in March here, so that the
/// leap day is the last of its year.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_1970: u64 = 719_468; // from 0000-03-01
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = days_since_1970 + DAYS_BEFORE_1970;
    let era = days / DAYS_IN_400_YEARS;
    let day_of_era = days % DAYS_IN_400_YEARS;
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days + day_of_era / 36_524) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use whimbrel_core::codec::packet::QoS;
    use whimbrel_core::codec::{Property, PropertyBuffer};

    fn message(payload: &[u8]) -> Message {
        Message {
            topic: "a/b".into(),
            payload: payload.to_vec(),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: PropertyBuffer::new(),
        }
    }

    fn written(format: Format, with_topic: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        format.write(&message(payload), with_topic, &mut out);
        out
    }

    #[test]
    fn plain_and_hex() {
        assert_eq!(written(Format::Plain, false, b"x\xFF"), b"x\xFF\n");
        assert_eq!(written(Format::Plain, true, b"x"), b"a/b x\n");
        assert_eq!(written(Format::Hex, true, b"\x00\xFF"), b"a/b 00ff\n");
    }

    #[test]
    fn json_is_json() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_211_845_067);
        assert_eq!(
            json(&message(b"\"\\\n\x01\xC3\xA4"), time),
            "{\"time\":\"2024-02-29T13:04:05.067Z\",\"topic\":\"a/b\",\"qos\":1,\"retain\":true,\
             \"payload\":\"\\\"\\\\\\n\\u0001ä\"}"
        );
        let mut message = message(b"\xFF\x00");
        let properties = &mut message.properties;
        properties.push(Property::UserProperty("k", "v"));
        properties.push(Property::ContentType("c"));
        properties.push(Property::UserProperty("k", "w"));
        properties.push(Property::SubscriptionIdentifier(3));
        let text = json(&message, time);
        assert!(text.contains("\"payload_base64\":\"/wA=\""), "{text}");
        assert!(
            text.ends_with(
                "\"properties\":{\"content_type\":\"c\",\"subscription_identifiers\":[3],\
                 \"user_properties\":[[\"k\",\"v\"],[\"k\",\"w\"]]}}"
            ),
            "{text}"
        );
    }

    #[test]
    fn base64_is_padded() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(20_818), (2026, 12, 31));
        assert_eq!(date(47_540), (2100, 2, 28));
        assert_eq!(date(47_541), (2100, 3, 1));
    }
}
