//! `-D`: properties of MQTT 5.0 as people type them.

use crate::runtime::client::Config;
use std::str::FromStr;
use whimbrel_core::codec::{Property, PropertyBuffer};

/// The packet that a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Connect,
    Publish,
    Subscribe,
    Will,
}

/// One `-D`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PropertyOption {
    /// `None`: what the command is about.
    pub(crate) target: Option<Target>,
    name: String,
    value: String,
}

impl FromStr for PropertyOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("expected name=value, or packet:name=value")?;
        let (target, name) = match name.split_once(':') {
            None => (None, name),
            Some(("connect", name)) => (Some(Target::Connect), name),
            Some(("publish", name)) => (Some(Target::Publish), name),
            Some(("subscribe", name)) => (Some(Target::Subscribe), name),
            Some(("will", name)) => (Some(Target::Will), name),
            Some((other, _)) => {
                return Err(format!(
                    "there are no properties for {other}; expected connect, publish, subscribe or will"
                ));
            }
        };
        Ok(Self {
            target,
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl PropertyOption {
    /// Adds this property of a PUBLISH, SUBSCRIBE or will.
    ///
    /// # Errors
    ///
    /// There is no such property there, or the value is none for it.
    pub(crate) fn push_to(
        &self,
        properties: &mut PropertyBuffer,
        target: Target,
    ) -> Result<(), String> {
        let value = self.value.as_str();
        let property = match (self.name.as_str(), target) {
            ("user-property", _) => {
                let (name, value) = self.pair()?;
                Property::UserProperty(name, value)
            }
            ("subscription-identifier", Target::Subscribe) => {
                Property::SubscriptionIdentifier(self.number()?)
            }
            (_, Target::Subscribe) => return Err(self.unknown()),
            ("payload-format-indicator", _) => match value {
                "0" => Property::PayloadFormatIndicator(false),
                "1" => Property::PayloadFormatIndicator(true),
                _ => return Err(self.expected("0 or 1")),
            },
            ("message-expiry-interval", _) => Property::MessageExpiryInterval(self.number()?),
            ("content-type", _) => Property::ContentType(value),
            ("response-topic", _) => Property::ResponseTopic(value),
            ("correlation-data", _) => Property::CorrelationData(value.as_bytes()),
            (_, _) => return Err(self.unknown()),
        };
        if properties.push(property) {
            Ok(())
        } else {
            Err(format!(
                "-D {}: the value is too long or too large",
                self.name
            ))
        }
    }

    /// Sets this property of CONNECT.
    ///
    /// # Errors
    ///
    /// There is no such property there, or the value is none for it.
    pub(crate) fn configure(&self, config: &mut Config) -> Result<(), String> {
        match self.name.as_str() {
            "receive-maximum" => config.receive_maximum = self.positive()?,
            "maximum-packet-size" => config.maximum_packet_size = self.positive()?,
            "topic-alias-maximum" => config.topic_alias_maximum = self.number()?,
            "user-property" => {
                let (name, value) = self.pair()?;
                config
                    .user_properties
                    .push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(self.unknown()),
        }
        Ok(())
    }

    fn number<N: FromStr>(&self) -> Result<N, String> {
        self.value.parse().map_err(|_| self.expected("a number"))
    }

    fn positive<N: FromStr + Default + PartialEq>(&self) -> Result<N, String> {
        let number = self.number()?;
        if number == N::default() {
            return Err(self.expected("a number from 1"));
        }
        Ok(number)
    }

    fn pair(&self) -> Result<(&str, &str), String> {
        let pair = self.value.split_once('=');
        pair.ok_or_else(|| self.expected("NAME=VALUE"))
    }

    fn expected(&self, what: &str) -> String {
        format!("-D {}: expected {what}, not {:?}", self.name, self.value)
    }

    fn unknown(&self) -> String {
        format!(
            "-D: there is no property {} in that packet; see --help",
            self.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(text: &str, target: Target) -> Result<PropertyBuffer, String> {
        let mut properties = PropertyBuffer::new();
        let option: PropertyOption = text.parse()?;
        option.push_to(&mut properties, target)?;
        Ok(properties)
    }

    #[test]
    fn properties_are_read() {
        let buffer = pushed("content-type=text/plain;q=1", Target::Publish).unwrap();
        let content_type = buffer.as_properties().content_type();
        assert_eq!(content_type, Some("text/plain;q=1"));
        let buffer = pushed("will:user-property=a=b=c", Target::Will).unwrap();
        let pairs: Vec<_> = buffer.as_properties().user_properties().collect();
        assert_eq!(pairs, [("a", "b=c")]);
        let buffer = pushed("subscription-identifier=7", Target::Subscribe).unwrap();
        assert_eq!(buffer.as_properties().subscription_identifier(), Some(7));
    }

    #[test]
    fn what_is_no_property_is_told() {
        for (text, target, expected) in [
            ("content-type", Target::Publish, "expected name=value"),
            ("puback:x=y", Target::Publish, "no properties for puback"),
            (
                "content-type=x",
                Target::Subscribe,
                "no property content-type",
            ),
            ("colour=x", Target::Publish, "no property colour"),
            ("user-property=x", Target::Publish, "expected NAME=VALUE"),
            (
                "message-expiry-interval=x",
                Target::Publish,
                "expected a number",
            ),
            (
                "payload-format-indicator=2",
                Target::Publish,
                "expected 0 or 1",
            ),
        ] {
            let error = pushed(text, target).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
