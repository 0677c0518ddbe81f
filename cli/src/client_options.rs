//! The options that `pub` and `sub` share: where to, who, and how to connect.
//!
//! argh has no way to put one set of options into two commands, so [`with_client_options`] writes
//! the fields into each struct; everything else works on a [`ClientOptions`].

use crate::client_property::{PropertyOption, Target};
use crate::runtime::client::{Config, Will};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::codec::{Property, PropertyBuffer, REMAINING_LENGTH_MAX};
use whimbrel_core::runtime::{BadServerUrl, Scheme, ServerUrl, TlsOptions};

/// Where the password may come from, when not from the command line.
pub(crate) const PASSWORD_VARIABLE: &str = "WHIMBREL_PASSWORD";

/// Bytes of the largest packet there can be. The size of a message is the user's own business here.
const PACKET_SIZE_MAX: u32 = REMAINING_LENGTH_MAX + 5;

/// Declares a command that connects to a server: the fields given, and those of [`ClientOptions`].
macro_rules! with_client_options {
    (
        $(#[$attribute:meta])*
        pub(crate) struct $name:ident {
            $($own:tt)*
        }
    ) => {
        $(#[$attribute])*
        #[argh(
            note = "-D NAME=VALUE or -D PACKET:NAME=VALUE, where the PACKET is publish for pub and subscribe for sub:\n  publish, will  payload-format-indicator (0 or 1), message-expiry-interval, content-type,\n                 response-topic, correlation-data, user-property=NAME=VALUE\n  subscribe      subscription-identifier, user-property=NAME=VALUE\n  connect        receive-maximum, maximum-packet-size, topic-alias-maximum, user-property=NAME=VALUE"
        )]
        pub(crate) struct $name {
            $($own)*
            /// the server: a name, an address, or a URL such as mqtts://broker.example.org; default
            /// localhost
            #[argh(option, short = 'h', arg_name = "name", default = "\"localhost\".to_owned()")]
            pub(crate) host: String,
            /// its port; default 1883, or that of the URL
            #[argh(
                option,
                short = 'p',
                arg_name = "number",
                from_str_fn($crate::arguments::number)
            )]
            pub(crate) port: Option<u16>,
            /// file with the authorities whose certificates are believed; default those of this
            /// system. May be there several times. mqtts, wss, quic
            #[argh(option, arg_name = "file")]
            pub(crate) ca: Vec<String>,
            /// file with the certificate that shows who this client is. mqtts, wss, quic
            #[argh(option, arg_name = "file")]
            pub(crate) cert: Option<String>,
            /// file with the private key of --cert
            #[argh(option, arg_name = "file")]
            pub(crate) key: Option<String>,
            /// believe any certificate: whoever is in between can read and change everything
            #[argh(switch)]
            pub(crate) insecure: bool,
            /// client identifier; by default the server chooses one
            #[argh(option, short = 'i', arg_name = "text")]
            pub(crate) id: Option<String>,
            /// user name
            #[argh(option, short = 'u', arg_name = "text")]
            pub(crate) username: Option<String>,
            /// password. Others on this machine can see it: better use the environment variable
            /// WHIMBREL_PASSWORD, or --password-file
            #[argh(option, short = 'P', arg_name = "text")]
            pub(crate) password: Option<$crate::client_options::Secret>,
            /// file whose first line is the password
            #[argh(option, arg_name = "file")]
            pub(crate) password_file: Option<std::path::PathBuf>,
            /// quality of service: 0 (at most once), 1 (at least once) or 2 (exactly once);
            /// default 0
            #[argh(
                option,
                short = 'q',
                arg_name = "qos",
                from_str_fn($crate::client_options::parse_qos),
                default = "QoS::AtMostOnce"
            )]
            pub(crate) qos: QoS,
            /// seconds of silence after which to ping, 0 for never; default 60
            #[argh(
                option,
                short = 'k',
                arg_name = "seconds",
                from_str_fn($crate::arguments::number),
                default = "60"
            )]
            pub(crate) keep_alive: u16,
            /// go on with the session of an earlier connection, and leave it behind; needs -i
            #[argh(switch, short = 'c')]
            pub(crate) persistent: bool,
            /// how long the session outlives the connection; with -c and without this, for ever.
            /// 5.0
            #[argh(
                option,
                short = 'x',
                arg_name = "seconds",
                from_str_fn($crate::arguments::number)
            )]
            pub(crate) session_expiry: Option<u32>,
            /// version of MQTT: 3.1, 3.1.1 or 5; default 5
            #[argh(
                option,
                short = 'V',
                arg_name = "version",
                from_str_fn($crate::client_options::parse_version),
                default = "Version::V5"
            )]
            pub(crate) protocol_version: Version,
            /// what the server publishes if this connection breaks: the topic of it
            #[argh(option, arg_name = "topic")]
            pub(crate) will_topic: Option<String>,
            /// the payload of the will; default empty
            #[argh(option, arg_name = "text")]
            pub(crate) will_payload: Option<String>,
            /// the QoS of the will; default 0
            #[argh(
                option,
                arg_name = "qos",
                from_str_fn($crate::client_options::parse_qos)
            )]
            pub(crate) will_qos: Option<QoS>,
            /// the server keeps the will for later subscribers
            #[argh(switch)]
            pub(crate) will_retain: bool,
            /// how long the server waits with the will; needs -x or -c. 5.0
            #[argh(
                option,
                arg_name = "seconds",
                from_str_fn($crate::arguments::number)
            )]
            pub(crate) will_delay: Option<u32>,
            /// a property, as name=value or packet:name=value; see below. May be there several
            /// times. 5.0
            #[argh(option, short = 'D', arg_name = "property")]
            pub(crate) property: Vec<$crate::client_property::PropertyOption>,
        }

        impl $name {
            /// Takes out what concerns the connection.
            fn client_options(&mut self) -> $crate::client_options::ClientOptions {
                $crate::client_options::ClientOptions {
                    host: core::mem::take(&mut self.host),
                    port: self.port,
                    tls: whimbrel_core::runtime::TlsOptions {
                        ca: core::mem::take(&mut self.ca),
                        certificate: self.cert.take(),
                        key: self.key.take(),
                        insecure: self.insecure,
                    },
                    id: self.id.take(),
                    login: $crate::client_options::Login {
                        username: self.username.take(),
                        password: self.password.take(),
                        password_file: self.password_file.take(),
                    },
                    keep_alive: self.keep_alive,
                    persistent: self.persistent,
                    session_expiry: self.session_expiry,
                    version: self.protocol_version,
                    will_topic: self.will_topic.take(),
                    will_payload: self.will_payload.take(),
                    will_qos: self.will_qos,
                    will_retain: self.will_retain,
                    will_delay: self.will_delay,
                    properties: core::mem::take(&mut self.property),
                }
            }
        }
    };
}
pub(crate) use with_client_options;

/// Something that is not to be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Who a client says it is.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
}

impl Login {
    /// The password, from wherever it is given.
    ///
    /// # Errors
    ///
    /// What does not go together, in words; a file that cannot be read.
    pub(crate) fn password(&self, version: Version) -> Result<Option<Vec<u8>>, String> {
        if let Some(Secret(password)) = &self.password {
            if self.password_file.is_some() {
                return Err("-P and --password-file exclude each other".to_owned());
            }
            return self.of_user(password.clone().into_bytes(), version);
        }
        if let Some(path) = &self.password_file {
            let text = std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            return self.of_user(line.to_vec(), version);
        }
        // A password that is only lying around is not sent without the name it belongs to.
        match (&self.username, std::env::var(PASSWORD_VARIABLE)) {
            (Some(_), Ok(password)) => Ok(Some(password.into_bytes())),
            (_, Ok(_) | Err(_)) => Ok(None),
        }
    }

    fn of_user(&self, password: Vec<u8>, version: Version) -> Result<Option<Vec<u8>>, String> {
        if self.username.is_none() && version != Version::V5 {
            return Err("a password needs a user name: -u".to_owned());
        }
        Ok(Some(password))
    }
}

pub(crate) fn parse_qos(text: &str) -> Result<QoS, String> {
    let bits = text.parse().ok().and_then(QoS::from_bits);
    bits.ok_or_else(|| "expected 0, 1 or 2".to_owned())
}

/// As it is called, as other clients have it typed, or by its protocol level.
pub(crate) fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "3.1" | "31" | "3" | "mqttv31" => Ok(Version::V3),
        "3.1.1" | "311" | "4" | "mqttv311" => Ok(Version::V4),
        "5" | "5.0" | "mqttv5" => Ok(Version::V5),
        _ => Err("expected 3.1, 3.1.1 or 5".to_owned()),
    }
}

/// What to connect to, and how to know that it is it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) url: ServerUrl,
    pub(crate) tls: TlsOptions,
}

/// A URL, or a name or address with a port.
pub(crate) fn server_url(host: &str, port: Option<u16>) -> Result<ServerUrl, String> {
    if host.contains("://") {
        let url: ServerUrl = host
            .parse()
            .map_err(|error: BadServerUrl| error.to_string())?;
        return Ok(match port {
            Some(port) => url.with_port(port),
            None => url,
        });
    }
    if let Some(path) = host
        .strip_prefix("unix:")
        .filter(|path| path.starts_with('/'))
    {
        return Err(format!("-h {host}: write -h unix://{path}"));
    }
    if let Some((name, port)) = with_port(host) {
        return Err(format!(
            "-h {host}: the port is an option of its own: -h {name} -p {port}"
        ));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let port = port.unwrap_or_else(|| Scheme::Tcp.port());
    Ok(ServerUrl::tcp(bare.unwrap_or(host), port))
}

/// A name and a port where only a name is asked for. Addresses of IPv6 have colons of their own.
fn with_port(host: &str) -> Option<(&str, &str)> {
    let (name, port) = host.rsplit_once(':')?;
    (!name.contains(':') || name.ends_with(']')).then_some((name, port))
}

/// Where to, who, and how to connect.
#[derive(Debug)]
pub(crate) struct ClientOptions {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) tls: TlsOptions,
    pub(crate) id: Option<String>,
    pub(crate) login: Login,
    pub(crate) keep_alive: u16,
    pub(crate) persistent: bool,
    pub(crate) session_expiry: Option<u32>,
    pub(crate) version: Version,
    pub(crate) will_topic: Option<String>,
    pub(crate) will_payload: Option<String>,
    pub(crate) will_qos: Option<QoS>,
    pub(crate) will_retain: bool,
    pub(crate) will_delay: Option<u32>,
    pub(crate) properties: Vec<PropertyOption>,
}

impl ClientOptions {
    /// What to connect to.
    ///
    /// # Errors
    ///
    /// In words: a URL that is none, or TLS options without TLS.
    pub(crate) fn server(&self) -> Result<Server, String> {
        let url = server_url(&self.host, self.port)?;
        if !url.scheme().has_tls() && self.tls != TlsOptions::default() {
            return Err(
                "--ca, --cert, --key and --insecure need TLS: write -h mqtts://NAME, or wss or quic"
                    .to_owned(),
            );
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err("--cert needs --key, and --key needs --cert".to_owned());
        }
        let tls = self.tls.clone();
        Ok(Server { url, tls })
    }

    /// What to say in CONNECT. Properties without a packet are of `target`.
    ///
    /// # Errors
    ///
    /// What does not go together, in words.
    pub(crate) fn config(&self, target: Target) -> Result<Config, String> {
        self.check()?;
        let mut config = Config {
            version: self.version,
            client_id: self.id.clone().unwrap_or_default(),
            clean_start: !self.persistent,
            session_expiry_s: self.session_expiry_s(),
            keep_alive_s: self.keep_alive,
            username: self.login.username.clone(),
            password: self.login.password(self.version)?,
            will: self.will(target)?,
            maximum_packet_size: PACKET_SIZE_MAX,
            ..Config::default()
        };
        if self.version == Version::V3 && config.client_id.is_empty() {
            // 3.1 servers do not choose.
            config.client_id = format!("whimbrel-{}", std::process::id());
        }
        for property in self.properties_of(Target::Connect, target) {
            property.configure(&mut config)?;
        }
        Ok(config)
    }

    /// How long the session outlives the connection.
    fn session_expiry_s(&self) -> u32 {
        let unless_given = if self.persistent { u32::MAX } else { 0 };
        self.session_expiry.unwrap_or(unless_given)
    }

    /// The properties given for one kind of packet.
    ///
    /// # Errors
    ///
    /// A value that is none.
    pub(crate) fn properties(
        &self,
        wanted: Target,
        default: Target,
    ) -> Result<PropertyBuffer, String> {
        let mut buffer = PropertyBuffer::new();
        for property in self.properties_of(wanted, default) {
            property.push_to(&mut buffer, wanted)?;
        }
        Ok(buffer)
    }

    fn properties_of(
        &self,
        wanted: Target,
        default: Target,
    ) -> impl Iterator<Item = &PropertyOption> {
        let properties = self.properties.iter();
        properties.filter(move |property| property.target.unwrap_or(default) == wanted)
    }

    /// What needs what.
    fn check(&self) -> Result<(), String> {
        let has_will_options = self.will_payload.is_some()
            || self.will_qos.is_some()
            || self.will_retain
            || self.will_delay.is_some();
        let only_in_5 = [
            (self.session_expiry.is_some(), "-x"),
            (self.will_delay.is_some(), "--will-delay"),
            (!self.properties.is_empty(), "-D"),
        ];
        for (given, flag) in only_in_5 {
            self.needs_5(given, flag)?;
        }
        if has_will_options && self.will_topic.is_none() {
            return Err("a will needs a topic: --will-topic".to_owned());
        }
        if self.persistent && self.id.as_deref().is_none_or(str::is_empty) {
            return Err("-c needs -i, the client identifier that names the session".to_owned());
        }
        // A will is sent when its delay has passed or its session ends, whichever comes first (MQTT
        // 5.0 §3.1.3.2.2).
        if self.will_delay.is_some_and(|seconds| seconds > 0) && self.session_expiry_s() == 0 {
            return Err(
                "--will-delay needs -x or -c: a will is sent when its session ends, at the latest"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// # Errors
    ///
    /// When a flag is `given` that this version has no words for.
    pub(crate) fn needs_5(&self, given: bool, flag: &str) -> Result<(), String> {
        if given && self.version != Version::V5 {
            return Err(format!("{flag} needs MQTT 5.0: -V 5"));
        }
        Ok(())
    }

    fn will(&self, default: Target) -> Result<Option<Will>, String> {
        let Some(topic) = &self.will_topic else {
            return Ok(None);
        };
        let mut properties = self.properties(Target::Will, default)?;
        if let Some(seconds) = self.will_delay {
            properties.push(Property::WillDelayInterval(seconds));
        }
        Ok(Some(Will {
            topic: topic.clone(),
            payload: self.will_payload.clone().unwrap_or_default().into_bytes(),
            qos: self.will_qos.unwrap_or_default(),
            retain: self.will_retain,
            properties,
        }))
    }
}
