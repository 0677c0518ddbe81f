//! What no key can be blamed for alone: settings that are good by themselves and cannot be
//! together, and keys of a listener that do nothing at its URL.

use super::keys::{SECTIONS, listener};
use super::value::Unit;
use super::{
    BAD_URL, Backend, Place, Places, Problem, Settings, Storage, listener_place, place_of, storage,
};
use std::net::SocketAddr;
use whimbrel_core::log::ConfigError;
use whimbrel_core::runtime::{CertificateUser, ListenerConfig, Scheme, TenantSource};

/// All of it.
pub(super) fn check(settings: &Settings, places: &Places, problems: &mut Vec<Problem>) {
    if let Err(error) = settings.server.broker.validate() {
        // The other key of the rule may be the one that was set.
        let blamed = error.key.to_string();
        let named = |path: &&String| error.remedy.contains(*path);
        let place = places.get(&blamed).or_else(|| {
            let other = places.keys().find(named);
            other.and_then(|path| places.get(path))
        });
        problems.push(Problem {
            place: place.cloned().unwrap_or(Place::Default),
            message: format!("{error}{}", values(settings, &blamed, error.remedy)),
        });
    }
    let storage = (&settings.storage, settings.server.threads);
    check_storage(storage, places, problems);
    check_listeners(settings, places, problems);
}

/// The values of the key that is blamed and of those that the remedy names, where it names any.
fn values(settings: &Settings, blamed: &str, remedy: &str) -> String {
    let mut parts = Vec::new();
    for section in &SECTIONS {
        for key in section.keys {
            let full_name = format!("{}.{}", section.name, key.name);
            if (full_name == blamed || remedy.contains(&full_name))
                && let Some(value) = key.get(&mut settings.clone())
            {
                parts.push(format!("{full_name} is {}", value.show(key.unit)));
            }
        }
    }
    match parts.len() {
        0 | 1 => String::new(),
        _ => format!("; {}", parts.join(", ")),
    }
}

/// No place and no name is there twice.
fn check_listeners(settings: &Settings, places: &Places, problems: &mut Vec<Problem>) {
    let listeners = &settings.server.listeners;
    let mut complain = |key: &str, index: usize, message: String| {
        let place = listener_place(places, key, index);
        problems.push(Problem { place, message });
    };
    // One without a good URL is nowhere, so nothing can be said of it.
    let is_good = |index: usize| !places.contains_key(&format!("{BAD_URL}#{index}"));
    for (index, listener) in listeners.iter().enumerate().filter(|(at, _)| is_good(*at)) {
        let (url, before) = (&listener.url, &listeners[..index]);
        let mut others = before.iter().zip(0..).filter(|(_, at)| is_good(*at));
        if let Some((other, _)) = others.find(|(other, _)| collide(listener, other)) {
            let message = match other.url == *url {
                true => format!("{url} is listened at twice; name it once"),
                false => format!(
                    "{url} is at the same place as {}; give one of them another port",
                    other.url
                ),
            };
            complain("url", index, message);
        }
        for (key, what) in useless(listener) {
            // What the environment says of all listeners is for those that have a use for it; but
            // what is to keep somebody out is missed where it does not.
            let is_for_all = !places.contains_key(&format!("listener.{key}#{index}"));
            let is_used = |other: &ListenerConfig| useless(other).all(|(named, _)| named != key);
            if is_for_all && !KEEPS_OUT.contains(&key) && listeners.iter().any(is_used) {
                continue;
            }
            let scheme = url.scheme().name();
            let message = format!("{key} does nothing at {url}: {scheme} has no {what}");
            complain(key, index, message);
        }
        if listener.tenant == TenantSource::Organization && listener.client_ca.is_empty() {
            let message = "nobody has a tenant by this: no client shows a certificate without \
                           client_ca; name its files";
            complain("tenant", index, message.to_owned());
        }
        // Of a certificate that a proxy has verified, the common name is known.
        let names_users = match listener.certificate_user {
            CertificateUser::None => true,
            CertificateUser::CommonName => {
                !listener.client_ca.is_empty() || !listener.proxy_from.is_empty()
            }
            CertificateUser::AlternativeName | CertificateUser::Organization => {
                !listener.client_ca.is_empty()
            }
        };
        if !names_users {
            let message = "nobody is a user by this: no client shows a certificate without \
                           client_ca; name its files";
            complain("certificate_user", index, message.to_owned());
        }
        if listener.name.is_some() && before.iter().any(|other| other.name == listener.name) {
            let name = listener.name();
            complain(
                "name",
                index,
                format!("two listeners are called \"{name}\""),
            );
        }
    }
}

/// Whether the system would not let both listen.
fn collide(one: &ListenerConfig, other: &ListenerConfig) -> bool {
    let (Some(ours), Some(theirs)) = (one.url.address(), other.url.address()) else {
        return one.url == other.url;
    };
    let is_udp = |listener: &ListenerConfig| listener.url.scheme() == Scheme::Quic;
    // Port 0 is another one each time.
    if ours.port() == 0 || ours.port() != theirs.port() || is_udp(one) != is_udp(other) {
        return false;
    }
    let covers = |listener: &ListenerConfig, all: SocketAddr, some: SocketAddr| {
        all.ip().is_unspecified()
            && (all.is_ipv4() == some.is_ipv4() || all.is_ipv6() && !listener.ipv6_only)
    };
    ours == theirs || covers(one, ours, theirs) || covers(other, theirs, ours)
}

/// Keys that are there to keep somebody out: where they would not, a listener is open by a slip.
const KEEPS_OUT: [&str; 4] = ["client_ca", "crl", "origins", "proxy_from"];

/// What is set to something else than its default, and has no effect with the scheme of the URL:
/// the key, and what the scheme lacks.
fn useless(listener: &ListenerConfig) -> impl Iterator<Item = (&'static str, &'static str)> {
    let scheme = listener.url.scheme();
    let is_stream = !matches!(scheme, Scheme::Unix | Scheme::Quic);
    let groups: [(bool, &'static str, &'static [&'static str]); 6] = [
        (
            scheme.has_tls(),
            "TLS",
            &[
                "certificate",
                "key",
                "tls_versions",
                "client_ca",
                "client_certificate",
                "crl",
            ],
        ),
        (scheme.has_websocket(), "web pages", &["origins"]),
        (
            scheme.has_websocket(),
            "X-Forwarded-For",
            &["forwarded_for_from"],
        ),
        (is_stream, "PROXY header", &["proxy_from"]),
        (scheme == Scheme::Unix, "file", &["unix_mode", "unix_owner"]),
        (
            scheme != Scheme::Unix,
            "IP address",
            &["ipv6_only", "reuse_port", "tcp_keepalive_s"],
        ),
    ];
    let in_vain = groups.into_iter().filter(|(has, ..)| !has);
    let in_vain = in_vain.flat_map(|(_, what, keys)| keys.iter().map(move |key| (*key, what)));
    in_vain.filter(|(name, _)| is_set(listener, name))
}

fn is_set(config: &ListenerConfig, name: &str) -> bool {
    let mut settings = Settings::default();
    settings.server.listeners = vec![config.clone()];
    let key = listener().key(name).expect("the table has it");
    key.get(&mut settings) != key.get(&mut Settings::default())
}

/// The log's own rules. What is only for the log may be wrong while nothing is logged.
fn check_storage(
    (storage, threads): (&Storage, u16),
    places: &Places,
    problems: &mut Vec<Problem>,
) {
    if storage.backend == Backend::Memory {
        return;
    }
    let mut complain = |key: &str, message: String| {
        let place = place_of(places, key);
        problems.push(Problem { place, message });
    };
    if storage.directory.is_empty() {
        let message = "storage.directory: must name a directory; write \".\" for the current one";
        complain("storage.directory", message.to_owned());
    }
    if storage.backend == Backend::Sqlite {
        if cfg!(not(feature = "sqlite")) {
            let message = "storage.backend: this program was built without SQLite; build it with \
                           `--features sqlite`, or take \"log\"";
            complain("storage.backend", message.to_owned());
        }
        if threads > 1 {
            let message = "server.threads: a database is written by one thread; leave this out, or \
                           take the backend \"log\"";
            complain("server.threads", message.to_owned());
        }
        if storage.sync != storage::Sync::Always {
            let message = "storage.sync: a database always syncs; leave this out, or take the \
                           backend \"log\"";
            complain("storage.sync", message.to_owned());
        }
        return;
    }
    if let Err(error) = storage.log().validate() {
        let segment = storage.log.segment_bytes;
        let (key, what) = match error {
            // From 64 KiB: what is smaller is refused when it is read.
            ConfigError::SegmentBytes => (
                "storage.segment_bytes",
                format!(
                    "must be a multiple of 4,096 from 64 KiB to 1 GiB, such as {} instead of {segment}",
                    segment.next_multiple_of(4_096)
                ),
            ),
            ConfigError::QuotaBytes => (
                "storage.quota_bytes",
                format!(
                    "must leave room for four segments: at least {}, since storage.segment_bytes is {}",
                    Unit::Bytes.show(segment.saturating_mul(4)),
                    Unit::Bytes.show(segment)
                ),
            ),
            ConfigError::Interval => ("storage.sync_interval_ms", error.to_string()),
            ConfigError::BatchBytes | ConfigError::Shards => ("storage", error.to_string()),
        };
        complain(key, format!("{key}: {what}"));
    }
}
