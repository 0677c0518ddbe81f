//! How the fields of the configuration take and give values. One impl per type of field; which
//! fields there are is told by the table in `keys`.

use super::value::{Kind, TOML_MAXIMUM, Unit, Value};
use whimbrel_auth::HttpFormat;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::config::{
    BadPrefix, DuplicateClient, OtherUser, PublishExcess, QueueOverflow, RevokedSubscription,
    SharedStrategy, TopicPrefix,
};
use whimbrel_core::runtime::{
    Anonymous, BadTenant, BadUrl, CertificateUser, ClientCertificate, FileMode, ListenerUrl,
    Network, TenantSource, TlsVersion,
};

/// A place a checked value can be put into and be read from.
pub(crate) trait Field {
    /// What the type can hold at most; a key may narrow the range.
    fn kind(&self, unit: Unit) -> Kind;

    /// Takes a value that [`Kind::read`] gave for this field's kind.
    ///
    /// # Errors
    ///
    /// In words, when the text means nothing to a field that gives it a meaning, such as an
    /// address.
    fn set(&mut self, value: Value) -> Result<(), String>;

    /// What it holds; `None` when it is left out.
    fn get(&self) -> Option<Value>;
}

/// A type with a name for each of its values.
pub(crate) trait Named: Copy + PartialEq + 'static {
    /// All names, in the order in which they are documented.
    const NAMES: &'static [&'static str];
    /// The values they stand for, in the same order.
    const VALUES: &'static [Self];

    /// The value of a name.
    fn from_name(name: &str) -> Option<Self> {
        let index = Self::NAMES.iter().position(|known| *known == name)?;
        Self::VALUES.get(index).copied()
    }

    /// The name of a value.
    fn name(self) -> &'static str {
        let index = Self::VALUES.iter().position(|value| *value == self);
        let name = index.and_then(|index| Self::NAMES.get(index));
        name.expect("VALUES lists every value, NAMES has one name for each")
    }
}

impl<T: Named> Field for T {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Choice(T::NAMES)
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Choice(name) = value
            && let Some(named) = T::from_name(name)
        {
            *self = named;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Choice(self.name()))
    }
}

impl<T: Named> Field for Vec<T> {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Choices(T::NAMES)
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Choices(names) = value {
            *self = names.into_iter().filter_map(T::from_name).collect();
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Choices(
            self.iter().map(|value| value.name()).collect(),
        ))
    }
}

impl Field for bool {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Truth
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Truth(truth) = value {
            *self = truth;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Truth(*self))
    }
}

impl Field for String {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Text
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Text(text) = value {
            *self = text;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Text(self.clone()))
    }
}

/// A field that may be left out. Being named is what sets it.
impl<T: Field + Default> Field for Option<T> {
    fn kind(&self, unit: Unit) -> Kind {
        T::default().kind(unit)
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        let mut inner = T::default();
        inner.set(value)?;
        *self = Some(inner);
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        self.as_ref().and_then(T::get)
    }
}

macro_rules! integer_field {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            fn kind(&self, unit: Unit) -> Kind {
                Kind::Integer(0..=u64::from(Self::MAX).min(TOML_MAXIMUM), unit)
            }

            fn set(&mut self, value: Value) -> Result<(), String> {
                if let Value::Integer(number) = value {
                    *self = Self::try_from(number).map_err(|error| error.to_string())?;
                }
                Ok(())
            }

            fn get(&self) -> Option<Value> {
                Some(Value::Integer((*self).into()))
            }
        }
    )*};
}

integer_field!(u8, u16, u32, u64);

impl Field for usize {
    fn kind(&self, unit: Unit) -> Kind {
        let most = u64::try_from(Self::MAX).unwrap_or(u64::MAX);
        Kind::Integer(0..=most.min(TOML_MAXIMUM), unit)
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Integer(number) = value {
            *self = Self::try_from(number).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        u64::try_from(*self).ok().map(Value::Integer)
    }
}

/// A number in MQTT, so a number here.
impl Field for QoS {
    fn kind(&self, unit: Unit) -> Kind {
        Kind::Integer(0..=2, unit)
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Integer(number) = value
            && let Some(qos) = u8::try_from(number).ok().and_then(Self::from_bits)
        {
            *self = qos;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Integer(*self as u64))
    }
}

/// A list of anything that is written as text.
macro_rules! list_field {
    ($($element:ty),*) => {$(
        impl Field for Vec<$element> {
            fn kind(&self, _: Unit) -> Kind {
                Kind::Texts
            }

            fn set(&mut self, value: Value) -> Result<(), String> {
                if let Value::Texts(texts) = value {
                    let read = texts.iter().map(|text| {
                        let parsed = text.parse::<$element>();
                        parsed.map_err(|error| format!("\"{text}\": {error}"))
                    });
                    *self = read.collect::<Result<_, _>>()?;
                }
                Ok(())
            }

            fn get(&self) -> Option<Value> {
                Some(Value::Texts(self.iter().map(ToString::to_string).collect()))
            }
        }
    )*};
}

list_field!(String, Network);

/// Written as a URL.
impl Field for ListenerUrl {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Text
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Text(text) = value {
            *self = text.parse().map_err(|error: BadUrl| error.to_string())?;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Text(self.to_string()))
    }
}

/// Written as levels of a topic.
impl Field for TopicPrefix {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Text
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Text(text) = value {
            *self = text.parse().map_err(|error: BadPrefix| error.to_string())?;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Text(self.to_string()))
    }
}

/// Written as a name, or as where one comes from.
impl Field for TenantSource {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Text
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Text(text) = value {
            *self = text.parse().map_err(|error: BadTenant| error.to_string())?;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Text(self.to_string()))
    }
}

/// Written as for `chmod`.
impl Field for FileMode {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Text
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Text(text) = value {
            let mode = u32::from_str_radix(&text, 8).ok();
            let mode = mode.filter(|mode| *mode <= 0o777);
            self.0 = mode.ok_or_else(|| {
                format!("\"{text}\" is not a mode: write three digits from 0 to 7, such as \"660\"")
            })?;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Text(format!("{:03o}", self.0)))
    }
}

impl Named for Version {
    const NAMES: &'static [&'static str] = &["3.1", "3.1.1", "5.0"];
    const VALUES: &'static [Self] = &[Self::V3, Self::V4, Self::V5];
}

impl Named for SharedStrategy {
    const NAMES: &'static [&'static str] = &["round-robin", "sticky", "random", "least-inflight"];
    const VALUES: &'static [Self] = &[
        Self::RoundRobin,
        Self::Sticky,
        Self::Random,
        Self::LeastInflight,
    ];
}

impl Named for OtherUser {
    const NAMES: &'static [&'static str] = &["refuse", "replace"];
    const VALUES: &'static [Self] = &[Self::Refuse, Self::Replace];
}

impl Named for RevokedSubscription {
    const NAMES: &'static [&'static str] = &["disconnect", "stay"];
    const VALUES: &'static [Self] = &[Self::Disconnect, Self::Stay];
}

impl Named for DuplicateClient {
    const NAMES: &'static [&'static str] = &["take-over", "refuse", "back-off"];
    const VALUES: &'static [Self] = &[Self::TakeOver, Self::Refuse, Self::BackOff];
}

impl Named for PublishExcess {
    const NAMES: &'static [&'static str] = &["throttle", "disconnect"];
    const VALUES: &'static [Self] = &[Self::Throttle, Self::Disconnect];
}

impl Named for QueueOverflow {
    const NAMES: &'static [&'static str] = &["drop-newest", "drop-oldest", "disconnect"];
    const VALUES: &'static [Self] = &[Self::DropNewest, Self::DropOldest, Self::Disconnect];
}

impl Named for TlsVersion {
    const NAMES: &'static [&'static str] = &["1.2", "1.3"];
    const VALUES: &'static [Self] = &[Self::Tls12, Self::Tls13];
}

impl Named for ClientCertificate {
    const NAMES: &'static [&'static str] = &["required", "optional"];
    const VALUES: &'static [Self] = &[Self::Required, Self::Optional];
}

impl Named for Anonymous {
    const NAMES: &'static [&'static str] = &["loopback-only", "always", "never"];
    const VALUES: &'static [Self] = &[Self::LoopbackOnly, Self::Always, Self::Never];
}

impl Named for CertificateUser {
    const NAMES: &'static [&'static str] =
        &["none", "common-name", "alternative-name", "organization"];
    const VALUES: &'static [Self] = &[
        Self::None,
        Self::CommonName,
        Self::AlternativeName,
        Self::Organization,
    ];
}

impl Named for HttpFormat {
    const NAMES: &'static [&'static str] = &["json", "form"];
    const VALUES: &'static [Self] = &[Self::Json, Self::Form];
}
