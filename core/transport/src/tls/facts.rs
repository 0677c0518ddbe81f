//! What a certificate says about its owner.

use crate::layers::Fault;
use core::hash::BuildHasher;
use core::net::IpAddr;
use rustls::pki_types::CertificateDer;
use std::hash::RandomState;
use std::sync::LazyLock;
use whimbrel_core::access::identity::{Certificate, Issued};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Version;

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
    let parsed = shown.iter().map(|der| X509Certificate::from_der(der));
    let mut others: Vec<_> = parsed.filter_map(|parsed| Some(parsed.ok()?.1)).collect();
    let mut path = Vec::new();
    let mut place = (!others.is_empty()).then_some(0);
    while let Some(at) = place {
        let certificate = others.swap_remove(at);
        path.push(Issued {
            by: hash(certificate.issuer().as_raw()),
            number: number(certificate.raw_serial()),
        });
        place = others.iter().position(|other| {
            other.subject().as_raw() == certificate.issuer().as_raw()
                && certificate
                    .verify_signature(Some(other.public_key()))
                    .is_ok()
        });
    }
    path
}

fn subject(der: &[u8]) -> Result<Certificate, Fault> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Fault::Certificate)?;
    let subject = certificate.subject();
    let first = |name: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
        name.map(|name| name.as_str().map(str::to_owned))
            .transpose()
            .map_err(|_| Fault::Certificate)
    };
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|_| Fault::Certificate)?;
    let mut names = Vec::new();
    if let Some(alternative) = alternative {
        for name in alternative.value.general_names.iter().take(NAMES_MAXIMUM) {
            if let GeneralName::DNSName(name)
            | GeneralName::RFC822Name(name)
            | GeneralName::URI(name) = name
            {
                names.push((*name).to_owned());
            } else if let GeneralName::IPAddress(bytes) = name {
                names.push(address(bytes).ok_or(Fault::Certificate)?.to_string());
            }
        }
    }
    Certificate::new(
        first(subject.iter_common_name().next())?,
        first(subject.iter_organization().next())?,
        names,
    )
    .map_err(|_| Fault::Certificate)
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
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(hash(certificate.subject().as_raw()))
}

/// What a list has revoked; nothing when it is none.
pub(crate) fn revoked(list: &[u8]) -> Vec<Issued> {
    let Ok((_, list)) = CertificateRevocationList::from_der(list) else {
        return Vec::new();
    };
    let by = hash(list.issuer().as_raw());
    let revoked = list.iter_revoked_certificates();
    let numbers = revoked.map(|revoked| number(revoked.raw_serial()));
    numbers.map(|number| Issued { by, number }).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4().or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Whether a certificate has a version that is understood: 3, as all have that name somebody.
pub(crate) fn is_understood(der: &[u8]) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, certificate)| certificate.version() == X509Version::V3)
}

/// Whether the authority of this certificate has made this list of revoked certificates.
pub(crate) fn has_made(authority: &[u8], list: &[u8]) -> bool {
    let authority = X509Certificate::from_der(authority);
    let list = CertificateRevocationList::from_der(list);
    let (Ok((_, authority)), Ok((_, list))) = (authority, list) else {
        return false;
    };
    authority.subject().as_raw() == list.issuer().as_raw()
        && list.verify_signature(authority.public_key()).is_ok()
}

/// When the next list was to come, in seconds of Unix time; `None` when this one does not say.
pub(crate) fn next_update(list: &[u8]) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    list.next_update().map(|time| time.timestamp())
}

/// The end of a certificate's life, and its beginning, in seconds of Unix time. `None` when it is
/// no certificate.
pub(crate) fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some((
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}
