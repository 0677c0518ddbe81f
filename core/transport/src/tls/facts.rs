//! What a certificate says about its owner.

use crate::layers::Fault;
use whimbrel_core::access::identity::Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Alternative names of a certificate that are kept, at most.
const NAMES_MAXIMUM: usize = 32;

/// Reads a certificate that has been verified.
///
/// # Errors
///
/// It is none, or a name has control characters: such a name could pass for another one in a log,
/// in a rule, or in what is asked of others.
pub fn read(der: &[u8]) -> Result<Certificate, Fault> {
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
