//! Whether a certificate that was good when it was shown still is: whether who has issued it is
//! still believed, and has not taken it back.

use super::facts::{authority, revoked};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::collections::BTreeSet;
use whimbrel_core::access::identity::{Certificate, Issued};

/// The authorities that a listener believes about clients, and what they have revoked.
pub(crate) struct Authorities {
    /// By the names of those that they have issued.
    believed: BTreeSet<u64>,
    revoked: BTreeSet<Issued>,
}

impl Authorities {
    /// What these certificates and lists say.
    pub(crate) fn new(
        certificates: &[CertificateDer<'_>],
        lists: &[CertificateRevocationListDer<'_>],
    ) -> Self {
        Self {
            believed: certificates
                .iter()
                .filter_map(|der| authority(der))
                .collect(),
            revoked: lists.iter().flat_map(|list| revoked(list)).collect(),
        }
    }

    /// Whether a certificate that was verified once would be now, as far as who has issued it and
    /// what was revoked may have changed. Dates and signatures have not.
    pub(crate) fn stand_behind(&self, certificate: &Certificate) -> bool {
        let chain = certificate.chain();
        let believed = chain.iter().position(|one| self.believed.contains(&one.by));
        // What lies beyond somebody who is believed does not matter.
        believed.is_some_and(|at| !chain[..=at].iter().any(|one| self.revoked.contains(one)))
    }
}
