//! What a listener lays on the connections it accepts, and the certificates that it does so with.

#![cfg_attr(
    not(feature = "tls"),
    allow(
        unused_mut,
        unused_variables,
        clippy::needless_pass_by_ref_mut,
        reason = "a build without TLS has no certificates"
    )
)]

use crate::layers::{Fault, Layers};
#[cfg(feature = "quic")]
use crate::quic;
#[cfg(feature = "tls")]
use crate::tls::{self, authorities::Authorities, credentials::Loaded};
#[cfg(feature = "websocket")]
use crate::websocket::{Accept, Rules, WebSocket};
use core::fmt;
use core::net::IpAddr;
use std::io;
use std::sync::Arc;
#[cfg(feature = "tls")]
use std::sync::{Mutex, PoisonError};
use thiserror::Error;
use whimbrel_core::runtime::{ListenerConfig, ListenerUrl, Network, Scheme};
use whimbrel_core::{Peer, UnixTime};

/// One of these is shared by a listener on all shards, so that a reload reaches every one of them.
pub struct Security {
    proxy_from: Vec<Network>,
    #[cfg(feature = "tls")]
    shown: Option<Mutex<Shown>>,
    #[cfg(feature = "websocket")]
    websocket: Option<Arc<Rules>>,
}

/// Certificates, keys and authorities, as they are used.
#[cfg(feature = "tls")]
#[derive(Clone)]
struct Shown {
    config: Config,
    /// Who is believed about the certificates of clients, where they are asked for.
    authorities: Option<Arc<Authorities>>,
}

/// What connections are accepted with.
#[cfg(feature = "tls")]
#[derive(Clone)]
enum Config {
    Tls(Arc<rustls::ServerConfig>),
    #[cfg(feature = "quic")]
    Quic(Arc<quinn::ServerConfig>),
}

#[cfg(feature = "tls")]
impl Shown {
    /// Reads and checks what the configuration names.
    fn load(listener: &ListenerConfig) -> Result<Self, CertificateError> {
        let Loaded {
            config,
            authorities,
        } = tls::credentials::load(listener)?;
        #[cfg(feature = "quic")]
        if listener.url.scheme() == Scheme::Quic {
            let config = quic::accept_with(config, listener);
            let config = config.map_err(|what| CertificateError {
                url: listener.url.clone(),
                key: "tls_versions",
                what,
            })?;
            return Ok(Self {
                config: Config::Quic(Arc::new(config)),
                authorities,
            });
        }
        Ok(Self {
            config: Config::Tls(config),
            authorities,
        })
    }
}

impl Security {
    /// Reads what the configuration names.
    ///
    /// # Errors
    ///
    /// Files that are not what they should be, or something that this build cannot.
    pub fn new(config: &ListenerConfig) -> io::Result<Self> {
        let scheme = config.url.scheme();
        can(scheme)?;
        if scheme == Scheme::Quic && !config.proxy_from.is_empty() {
            let why = "PROXY headers come over TCP; QUIC has none";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(Self {
            proxy_from: config.proxy_from.clone(),
            #[cfg(feature = "tls")]
            shown: scheme
                .has_tls()
                .then(|| Shown::load(config).map(Mutex::new))
                .transpose()
                .map_err(|error| io::Error::other(error.what))?,
            #[cfg(feature = "websocket")]
            websocket: scheme.has_websocket().then(|| {
                Arc::new(Rules {
                    path: config.url.path().to_owned(),
                    origins: config.origins.clone(),
                    forwarded_for_from: config.forwarded_for_from.clone(),
                })
            }),
        })
    }

    /// What its certificates, keys and authorities are now.
    #[cfg(feature = "tls")]
    fn shown(&self) -> Option<Shown> {
        let shown = self.shown.as_ref()?;
        let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        Some(shown.clone())
    }

    /// What its QUIC connections are accepted with now.
    #[must_use]
    #[cfg(feature = "quic")]
    pub fn quic(&self) -> Option<Arc<quinn::ServerConfig>> {
        match self.shown()?.config {
            Config::Tls(_) => None,
            Config::Quic(config) => Some(config),
        }
    }

    /// Whether who connects from there will say that it is somebody else.
    #[cfg_attr(
        not(feature = "websocket"),
        expect(unused_variables, reason = "a proxy's header is asked of everybody")
    )]
    fn is_go_between(&self, from: IpAddr) -> bool {
        #[cfg(feature = "websocket")]
        if let Some(rules) = &self.websocket
            && rules
                .forwarded_for_from
                .iter()
                .any(|network| network.contains(from))
        {
            return true;
        }
        !self.proxy_from.is_empty()
    }

    /// Who a newcomer is as far as is known before it has said anything. A proxy does not count as
    /// a client: neither for its address nor for what its address may do.
    #[must_use]
    pub fn as_far_as_known(&self, peer: Peer) -> Peer {
        match peer.address {
            Some(address) if self.is_go_between(address.ip()) => Peer {
                address: None,
                proxy: Some(address),
                ..peer
            },
            _ => peer,
        }
    }

    /// Whether the certificate that a client has shown here, if it has shown one, would be taken
    /// now. It was when it was shown; meanwhile it may have been revoked, or its authority may be
    /// believed no longer.
    #[must_use]
    pub fn still_takes(&self, peer: &Peer) -> bool {
        #[cfg(feature = "tls")]
        if let Some(certificate) = &peer.certificate
            // Of what a proxy says it has seen, nothing else is known.
            && !certificate.chain().is_empty()
            && let Some(authorities) = self.shown().and_then(|shown| shown.authorities)
        {
            return authorities.stand_behind(certificate);
        }
        true
    }

    /// What is laid on a connection that was accepted from `peer`; `None` when that is nothing.
    ///
    /// # Errors
    ///
    /// The peer may not connect here.
    pub fn layers(&self, peer: &Peer) -> Result<Option<Layers>, Fault> {
        let mut layers = Layers::of(peer.clone());
        if !self.proxy_from.is_empty() {
            let from = peer.address.map(|address| address.ip());
            let is_listed = |from| self.proxy_from.iter().any(|network| network.contains(from));
            if !from.is_some_and(is_listed) {
                return Err(Fault::NotAProxy);
            }
            layers.expect_proxy_header();
        }
        #[cfg(feature = "tls")]
        if let Some(Shown {
            config: Config::Tls(config),
            ..
        }) = self.shown()
        {
            layers.add_tls(tls::Tls::server(config)?);
        }
        #[cfg(feature = "websocket")]
        if let Some(rules) = &self.websocket {
            let from = peer.address.map(|address| address.ip());
            layers.add_websocket(WebSocket::server(Accept::new(Arc::clone(rules), from)));
        }
        Ok((!layers.is_open()).then_some(layers))
    }
}

/// Asks the listener that a client came by, one of these in their order, whether it
/// [still takes](Security::still_takes) its certificate. For `Policy::certificates`.
pub fn still_taken_by(listeners: Vec<Arc<Security>>) -> impl Fn(&Peer) -> bool {
    move |peer| {
        let listener = listeners.get(usize::from(peer.listener));
        listener.is_none_or(|listener| listener.still_takes(peer))
    }
}

/// What is wrong with the certificates of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{url}: {what}")]
pub struct CertificateError {
    /// Which listener.
    pub url: ListenerUrl,
    /// Which of its keys is to be changed, as the configuration file calls it.
    pub key: &'static str,
    /// What is wrong, and what to do about it.
    pub what: String,
}

/// What [`check_certificates`] has to say of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFinding {
    /// The listener cannot be opened.
    Unusable(CertificateError),
    /// It can, but clients cannot connect, or not all who should.
    Error(CertificateError),
    /// Soon they cannot.
    Warning(CertificateError),
}

impl fmt::Display for CertificateFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(error) | Self::Error(error) | Self::Warning(error) => error.fmt(f),
        }
    }
}

/// Reads the certificates, keys, authorities and lists of a listener as a start would: whether all
/// are there and fit each other, and whether they are in date at `now` and for two weeks more. Of
/// listeners without TLS nothing is found, but that this build has not what their scheme needs.
#[must_use]
pub fn check_certificates(listener: &ListenerConfig, now: UnixTime) -> Vec<CertificateFinding> {
    if let Err(why) = can(listener.url.scheme()) {
        return vec![CertificateFinding::Unusable(CertificateError {
            url: listener.url.clone(),
            key: "url",
            what: why.to_string(),
        })];
    }
    #[cfg(feature = "tls")]
    if listener.url.scheme().has_tls() {
        return match Shown::load(listener) {
            Ok(_) => tls::credentials::check_dates(listener, now),
            Err(error) => vec![CertificateFinding::Unusable(error)],
        };
    }
    Vec::new()
}

/// Certificates that have been read and fit, and are not in use yet; see
/// `Handle::read_certificates` of the runtimes.
#[must_use = "they are not in use before `apply`"]
#[derive(Default)]
pub struct Certificates {
    #[cfg(feature = "tls")]
    read: Vec<(Arc<Security>, Shown)>,
}

impl Certificates {
    /// Reads those of all listeners, and checks them.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them.
    pub fn read(
        security: &[Arc<Security>],
        listeners: &[ListenerConfig],
    ) -> Result<Self, Vec<CertificateError>> {
        let mut certificates = Self::default();
        let mut errors: Vec<CertificateError> = Vec::new();
        #[cfg(feature = "tls")]
        for (security, config) in security.iter().zip(listeners) {
            if security.shown.is_some() {
                match Shown::load(config) {
                    Ok(loaded) => certificates.read.push((Arc::clone(security), loaded)),
                    Err(error) => errors.push(error),
                }
            }
        }
        if errors.is_empty() {
            Ok(certificates)
        } else {
            Err(errors)
        }
    }

    /// Who connects from now on is shown these, and is judged by these. Who is connected stays; TLS
    /// sessions from before are not resumed.
    pub fn apply(self) {
        #[cfg(feature = "tls")]
        for (security, read) in self.read {
            if let Some(shown) = &security.shown {
                *shown.lock().unwrap_or_else(PoisonError::into_inner) = read;
            }
        }
    }
}

/// Whether this build has what a scheme needs.
///
/// # Errors
///
/// What is missing.
pub fn can(scheme: Scheme) -> io::Result<()> {
    let needs = [
        (scheme == Scheme::Quic, "quic", cfg!(feature = "quic")),
        (scheme.has_tls(), "tls", cfg!(feature = "tls")),
        (
            scheme.has_websocket(),
            "websocket",
            cfg!(feature = "websocket"),
        ),
    ];
    let missing = needs.iter().find(|(needs, _, has)| *needs && !has);
    missing.map_or(Ok(()), |(_, feature, _)| Err(without(feature)))
}

/// What a build says that was made without something.
pub fn without(feature: &str) -> io::Error {
    let why = format!("this program was built without it; build it with the feature `{feature}`");
    io::Error::new(io::ErrorKind::Unsupported, why)
}
