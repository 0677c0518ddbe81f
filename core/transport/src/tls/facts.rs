//! What a certificate says about its owner.

use super::x509::{
    self, AlternativeName, COMMON_NAME, Damaged, ORGANIZATION, RevocationList, attribute,
};
use crate::layers::Fault;
use core::hash::BuildHasher;
use core::net::IpAddr;
use rustls::pki_types::CertificateDer;
use std::hash::RandomState;
use std::sync::LazyLock;
use whimbrel_core::access::identity::{Certificate, Issued};

/// Alternative names of a certificate that are kept, at most.
const NAMES_MAXIMUM: usize = 32;

/// Reads a certificate that has been verified: the first of those that were shown. `None` when none
/// were.
///
/// # Errors
///
/// It is none, or a name has control characters: such a name could pass for another one in a log,
/// in a rule, or in what is asked of others.
pub fn read(shown: &[CertificateDer<'_>]) -> Result<Option<Certificate>, Fault> {
    let Some(first) = shown.first() else {
        return Ok(None);
    };
    Ok(Some(subject(first)?.in_chain(path(shown))))
}

/// The way from the first certificate to who has issued it, to who has issued that one, and so on
/// as far as those that were shown tell: each has signed the one before. What else was shown proves
/// nothing, though it be the certificate of somebody who is believed.
fn path(shown: &[CertificateDer<'_>]) -> Vec<Issued> {
    let parsed = shown.iter().map(|der| x509::Certificate::read(der));
    let mut others: Vec<_> = parsed.flatten().collect();
    let mut path = Vec::new();
    let mut place = (!others.is_empty()).then_some(0);
    while let Some(at) = place {
        let certificate = others.swap_remove(at);
        path.push(Issued {
            by: hash(certificate.issuer),
            number: number(certificate.serial),
        });
        place = others.iter().position(|other| {
            other.subject == certificate.issuer && certificate.is_signed_by(other)
        });
    }
    path
}

fn subject(der: &[u8]) -> Result<Certificate, Fault> {
    let certificate = x509::Certificate::read(der)?;
    let first = |kind| attribute(certificate.subject, kind).map(|text| text.map(str::to_owned));
    let mut names = Vec::new();
    let alternatives = certificate.alternative_names()?;
    for name in alternatives.into_iter().take(NAMES_MAXIMUM) {
        match name {
            AlternativeName::Text(name) => names.push(name.to_owned()),
            AlternativeName::Address(bytes) => {
                names.push(address(bytes).ok_or(Damaged)?.to_string());
            }
            AlternativeName::Other => {}
        }
    }
    Certificate::new(first(COMMON_NAME)?, first(ORGANIZATION)?, names)
        .map_err(|_| Fault::Certificate)
}

impl From<Damaged> for Fault {
    fn from(_: Damaged) -> Self {
        Self::Certificate
    }
}

/// Other hashes in each process, so that nobody can choose them.
fn hash(name: &[u8]) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one(name)
}

/// The same number may be written with zeros before it.
fn number(raw: &[u8]) -> u64 {
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    hash(&raw[zeros..])
}

/// By what [`Issued::by`] is known of those that it has issued; `None` when it is no certificate.
pub(crate) fn authority(der: &[u8]) -> Option<u64> {
    let certificate = x509::Certificate::read(der).ok()?;
    Some(hash(certificate.subject))
}

/// What a list has revoked; nothing when it is none.
pub(crate) fn revoked(list: &[u8]) -> Vec<Issued> {
    let Ok((issuer, serials)) =
        RevocationList::read(list).and_then(|list| Ok((list.issuer, list.serials()?)))
    else {
        return Vec::new();
    };
    let by = hash(issuer);
    let numbers = serials.into_iter().map(number);
    numbers.map(|number| Issued { by, number }).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4().or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Whether a certificate has a version that is understood: 3, as all have that name somebody.
pub(crate) fn is_understood(der: &[u8]) -> bool {
    x509::Certificate::read(der).is_ok_and(|certificate| certificate.is_version_3)
}

/// Whether the authority of this certificate has made this list of revoked certificates.
pub(crate) fn has_made(authority: &[u8], list: &[u8]) -> bool {
    let authority = x509::Certificate::read(authority);
    let (Ok(authority), Ok(list)) = (authority, RevocationList::read(list)) else {
        return false;
    };
    authority.subject == list.issuer && list.is_signed_by(&authority)
}

/// When the next list was to come, in seconds of Unix time; `None` when this one does not say.
pub(crate) fn next_update(list: &[u8]) -> Option<i64> {
    RevocationList::read(list).ok()?.next_update
}

/// The beginning of a certificate's life, and its end, in seconds of Unix time. `None` when it is
/// no certificate.
pub(crate) fn validity(der: &[u8]) -> Option<(i64, i64)> {
    x509::Certificate::read(der).ok()?.validity().ok()
}
