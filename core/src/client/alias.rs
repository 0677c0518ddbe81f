//! Topic aliases, both ways. They live and die with the connection.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;

/// What the server's aliases stand for.
#[derive(Debug, Default)]
pub(super) struct ServerAliases {
    maximum: u16,
    topics: BTreeMap<u16, String>,
}

impl ServerAliases {
    /// Every alias from 1 to `maximum` may be used. [MQTT-3.3.2-10]
    pub(super) const fn new(maximum: u16) -> Self {
        Self {
            maximum,
            topics: BTreeMap::new(),
        }
    }

    /// `alias` stands for `topic` from here on; `false` when it is out of range.
    pub(super) fn insert(&mut self, alias: u16, topic: &str) -> bool {
        if alias > self.maximum {
            return false;
        }
        let known = self.topics.entry(alias).or_default();
        known.clear();
        known.push_str(topic);
        true
    }

    pub(super) fn get(&self, alias: u16) -> Option<&str> {
        self.topics.get(&alias).map(String::as_str)
    }
}

/// The aliases this client uses: for the first topics it publishes to, until they are used up.
#[derive(Debug, Default)]
pub(super) struct ClientAliases {
    maximum: u16,
    aliases: BTreeMap<Box<str>, u16>,
}

/// How a topic is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// By its name alone.
    Name,
    /// By its name, and with an alias that stands for it when the packet has been sent.
    NameAndAlias(u16),
    /// By its alias alone.
    Alias(u16),
}

impl ClientAliases {
    pub(super) const fn new(maximum: u16) -> Self {
        Self {
            maximum,
            aliases: BTreeMap::new(),
        }
    }

    pub(super) fn spelling(&self, topic: &str) -> Spelling {
        if self.maximum == 0 {
            return Spelling::Name;
        }
        if let Some(alias) = self.aliases.get(topic) {
            return Spelling::Alias(*alias);
        }
        match u16::try_from(self.aliases.len()) {
            Ok(used) if used < self.maximum => Spelling::NameAndAlias(used + 1),
            Ok(_) | Err(_) => Spelling::Name,
        }
    }

    /// The server has been told.
    pub(super) fn insert(&mut self, topic: &str, alias: u16) {
        self.aliases
            .insert(topic.to_owned().into_boxed_str(), alias);
    }
}
