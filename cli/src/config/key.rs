//! What a configuration key is. Parsing, environment names, `docs/whimbrel.toml`, the tables of
//! `docs/configuration.md` and "did you mean" all read the one entry a key has in `keys`.

use super::Settings;
use super::field::Field;
use super::value::{Kind, Unit, Value};
use std::ops::RangeInclusive;

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// As written in a file.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
    /// Why its default is what it is.
    pub(crate) why: &'static str,
    /// What its number counts.
    pub(crate) unit: Unit,
    /// A value worth showing, for keys that are left out by default.
    pub(crate) example: Option<&'static str>,
    /// A running broker takes it over at SIGHUP.
    pub(crate) is_live: bool,
    range: Option<RangeInclusive<u64>>,
    field: fn(&mut Settings) -> &mut dyn Field,
}

/// Keys that stand together under one heading.
#[derive(Debug)]
pub(crate) struct Section {
    /// As written in a file.
    pub(crate) name: &'static str,
    /// What it is about.
    pub(crate) doc: &'static str,
    /// May be there several times: `[[name]]`. Its fields are those of the entry begun last.
    pub(crate) repeated: bool,
    /// Its keys, in the order in which they are documented.
    pub(crate) keys: &'static [Key],
}

impl Key {
    /// A key and the field it sets.
    pub(super) const fn new(
        name: &'static str,
        field: fn(&mut Settings) -> &mut dyn Field,
        doc: &'static str,
        why: &'static str,
    ) -> Self {
        Self {
            name,
            doc,
            why,
            unit: Unit::Count,
            example: None,
            is_live: false,
            range: None,
            field,
        }
    }

    /// Its number counts this.
    pub(super) const fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// Its number is at least this.
    pub(super) const fn least(self, least: u64) -> Self {
        self.range(least, u64::MAX)
    }

    /// Its number is in this range, and in that of its field.
    pub(super) const fn range(mut self, least: u64, most: u64) -> Self {
        self.range = Some(least..=most);
        self
    }

    /// It is left out by default; this is how it could look.
    pub(super) const fn example(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    /// A running broker takes it over; see [`take_over`](super::take_over).
    pub(super) const fn live(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// What it accepts.
    pub(crate) fn kind(&self) -> Kind {
        let mut settings = Settings::default();
        match ((self.field)(&mut settings).kind(self.unit), &self.range) {
            (Kind::Integer(all, unit), Some(range)) => {
                let least = *range.start().max(all.start());
                let most = *range.end().min(all.end());
                Kind::Integer(least..=most, unit)
            }
            (kind, _) => kind,
        }
    }

    /// Puts a checked value into its field.
    ///
    /// # Errors
    ///
    /// See [`Field::set`].
    pub(crate) fn set(&self, settings: &mut Settings, value: Value) -> Result<(), String> {
        (self.field)(settings).set(value)
    }

    /// What its field holds; `None` when it is left out.
    pub(crate) fn get(&self, settings: &mut Settings) -> Option<Value> {
        (self.field)(settings).get()
    }

    /// The default as written in a file; `None` when it is left out by default.
    pub(crate) fn default(&self) -> Option<String> {
        let value = self.get(&mut Settings::default());
        value.map(|value| value.show(self.unit))
    }
}

impl Section {
    /// Its key of that name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of its keys.
    pub(crate) fn key_names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    /// Its heading in a file.
    pub(crate) fn heading(&self) -> String {
        if self.repeated {
            format!("[[{}]]", self.name)
        } else {
            format!("[{}]", self.name)
        }
    }

    /// The environment variable of one of its keys.
    pub(crate) fn variable(&self, key: &Key) -> String {
        format!("{PREFIX}{}_{}", self.name, key.name).to_ascii_uppercase()
    }
}

/// What the names of all environment variables begin with.
pub(crate) const PREFIX: &str = "WHIMBREL_";
