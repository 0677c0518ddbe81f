//! Who a client is: what its transport proves, and what a verdict grants it.
//!
//! Nothing here is believed because a client said it, but its client identifier. Texts are checked
//! once, where they come in: [`Certificate::new`] takes none with control characters, so that none
//! can forge a log line, a header, or the end of a name.

use crate::access::rule::Rule;
use crate::action::Peer;
use crate::state::{Reader, Secret, State, Writer};
use crate::time::UnixTime;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use thiserror::Error;

/// What a verified client certificate says about its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Certificate {
    common_name: Option<String>,
    organization: Option<String>,
    alternative_names: Vec<String>,
    chain: Vec<Issued>,
}

crate::state::state!(Certificate {
    common_name,
    organization,
    alternative_names,
    chain
});

/// By what a certificate is told from others, as hashes: who has issued it, and under which number.
/// Enough to find it in a list of those that were revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issued {
    /// The name of the authority.
    pub by: u64,
    /// The serial number.
    pub number: u64,
}

crate::state::state!(Issued { by, number });

/// A text of a certificate that cannot stand for anybody: it is empty, or has a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a name in the certificate is empty or has control characters")]
pub struct CertificateError;

impl Certificate {
    /// From the parts of the subject; alternative names as text, whatever their kind: DNS name,
    /// mail address, URI, IP address.
    ///
    /// # Errors
    ///
    /// A part is empty or has a control character. The certificate should not be believed then.
    pub fn new(
        common_name: Option<String>,
        organization: Option<String>,
        alternative_names: Vec<String>,
    ) -> Result<Self, CertificateError> {
        let parts = common_name.iter().chain(&organization);
        let is_unfit = |text: &String| text.is_empty() || text.chars().any(char::is_control);
        if parts.chain(&alternative_names).any(is_unfit) {
            return Err(CertificateError);
        }
        Ok(Self {
            common_name,
            organization,
            alternative_names,
            chain: Vec::new(),
        })
    }

    /// The same, as it was shown together with these: itself, and those between it and an
    /// authority.
    #[must_use]
    pub fn in_chain(self, chain: Vec<Issued>) -> Self {
        Self { chain, ..self }
    }

    /// What it was shown with, itself first; empty of one that only a proxy has seen.
    #[must_use]
    pub fn chain(&self) -> &[Issued] {
        &self.chain
    }

    /// The common name (CN).
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The organisation (O).
    #[must_use]
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// The subject alternative names (SAN).
    pub fn alternative_names(&self) -> impl Iterator<Item = &str> {
        self.alternative_names.iter().map(String::as_str)
    }
}

/// What an accepted client is and may, as whoever verified its credentials says.
/// `Grant::default()` is an anonymous client, to which the broker's rules apply.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Final data of an enhanced authentication, for CONNACK or AUTH.
    pub data: Option<Vec<u8>>,
    /// The name that was verified; absent for an anonymous client. Not the user name of CONNECT
    /// unless somebody has checked that.
    pub user: Option<String>,
    /// The groups the user is in, beside those that the rules name.
    pub groups: Vec<String>,
    /// The namespace that it lives in; absent for the one that all others share.
    pub tenant: Option<String>,
    /// When the authentication ends, by the machine's wall clock: the connection is closed then
    /// (5.0: 0xA0, maximum connect time), unless the client re-authenticates before. Absent: never.
    pub ends_at: Option<UnixTime>,
    /// Rules of its own, such as a token carries: asked before the broker's, first match first.
    /// Whom they are about is not looked at.
    pub rules: Vec<Rule>,
    /// What it rests on, in a number of whoever verified the credentials: shown to it again when it
    /// is asked whether that still holds, and understood by nobody else.
    pub basis: u64,
}

/// Without what the data says.
impl State for Grant {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            data,
            user,
            groups,
            tenant,
            ends_at,
            rules,
            basis,
        } = self;
        data.clone().map(Secret).save(to);
        user.save(to);
        groups.save(to);
        tenant.save(to);
        ends_at.save(to);
        rules.save(to);
        basis.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            data: <Option<Secret>>::load(from)?.map(|data| data.0),
            user: State::load(from)?,
            groups: State::load(from)?,
            tenant: State::load(from)?,
            ends_at: State::load(from)?,
            rules: State::load(from)?,
            basis: State::load(from)?,
        })
    }
}

impl Grant {
    /// A grant to a user of this name, without any further.
    #[must_use]
    pub fn to(user: impl Into<String>) -> Self {
        Self {
            user: Some(user.into()),
            ..Self::default()
        }
    }
}

/// Where a connection comes from, in few bytes: every connection has one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    ip: Option<IpAddr>,
    port: u16,
    pub(crate) listener: u16,
}

impl Place {
    pub(crate) fn of(peer: &Peer) -> Self {
        Self {
            ip: peer.address.map(|address| address.ip()),
            port: peer.address.map_or(0, |address| address.port()),
            listener: peer.listener,
        }
    }

    pub(crate) const fn ip(self) -> Option<IpAddr> {
        self.ip
    }

    pub(crate) fn address(self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }
}

crate::state::state!(Place { ip, port, listener });
crate::state::state!(Identity {
    grant,
    certificate,
    proxy
});

/// What is known of a connection beyond where it comes from. An anonymous one without a certificate
/// has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) grant: Grant,
    pub(crate) certificate: Option<Box<Certificate>>,
    pub(crate) proxy: Option<SocketAddr>,
}

impl Identity {
    /// What it takes, in bytes.
    pub(crate) fn footprint(&self) -> usize {
        const IDENTITY: usize = 256;
        const TEXT: usize = 40;
        const RULE: usize = 192;
        let Grant {
            data,
            user,
            groups,
            tenant,
            rules,
            ends_at: _,
            basis: _,
        } = &self.grant;
        let texts = |texts: &[String]| texts.iter().map(|text| text.len() + TEXT).sum::<usize>();
        let certificate = self.certificate.as_ref().map_or(0, |certificate| {
            let Certificate {
                common_name,
                organization,
                alternative_names,
                chain,
            } = &**certificate;
            let names = common_name.iter().chain(organization);
            2 * TEXT
                + names.map(String::len).sum::<usize>()
                + texts(alternative_names)
                + chain.len() * 16
        });
        IDENTITY
            + data.as_ref().map_or(0, Vec::len)
            + user.iter().chain(tenant).map(String::len).sum::<usize>()
            + texts(groups)
            + rules.len() * RULE
            + certificate
    }
}

/// Never shows the authentication data.
impl core::fmt::Debug for Grant {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Grant")
            .field("data", &self.data.as_ref().map(|_| "…"))
            .field("user", &self.user)
            .field("groups", &self.groups)
            .field("tenant", &self.tenant)
            .field("ends_at", &self.ends_at)
            .field("rules", &self.rules)
            .field("basis", &self.basis)
            .finish()
    }
}
