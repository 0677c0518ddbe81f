//! Which tenant a client is in, as its listener says.

use crate::access::identity::{Certificate, Grant};
use crate::action::{Peer, Verdict};
use crate::codec::reason::ReasonCode;
use crate::tenant;
use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use thiserror::Error;

/// Where the tenant of a client comes from. A client that should have one by this and has none is
/// refused.
///
/// As a text, a tenant is its name, and the others are `from:` with one of the words below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TenantSource {
    /// Whoever verified its credentials may name one; else it is in the default one: `verdict`.
    #[default]
    Verdict,
    /// All clients of the listener are in this one.
    Named(String),
    /// The organisation (O) of its verified certificate: `organization`.
    Organization,
    /// Its verified user: `user`.
    User,
    /// What stands behind the last `@` of its verified user: `user-domain`.
    UserDomain,
}

/// A text that says nothing about tenants.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is no tenant: write a name of 1 to 255 bytes without control characters, or \
     \"from:organization\", \"from:user\", \"from:user-domain\" or \"from:verdict\""
)]
pub struct BadTenant(String);

impl FromStr for TenantSource {
    type Err = BadTenant;

    fn from_str(text: &str) -> Result<Self, BadTenant> {
        match text.strip_prefix("from:") {
            Some("organization") => Ok(Self::Organization),
            Some("user") => Ok(Self::User),
            Some("user-domain") => Ok(Self::UserDomain),
            Some("verdict") => Ok(Self::Verdict),
            None if tenant::is_name(text) => Ok(Self::Named(text.to_owned())),
            Some(_) | None => Err(BadTenant(text.to_owned())),
        }
    }
}

impl fmt::Display for TenantSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verdict => "from:verdict",
            Self::Named(name) => name,
            Self::Organization => "from:organization",
            Self::User => "from:user",
            Self::UserDomain => "from:user-domain",
        })
    }
}

impl TenantSource {
    /// The verdict on a client, with its tenant. Whoever verified it may name the same one, and no
    /// other.
    #[must_use]
    pub fn settle(&self, verdict: Verdict, peer: &Peer) -> Verdict {
        let Verdict::Accept(grant) = verdict else {
            return verdict;
        };
        if *self == Self::Verdict {
            return Verdict::Accept(grant);
        }
        let found = self.find(&grant, peer);
        let tenant = found
            .filter(|name| tenant::is_name(name))
            .map(str::to_owned);
        let agrees = grant.tenant.is_none() || grant.tenant == tenant;
        match tenant {
            Some(_) if agrees => Verdict::Accept(Grant { tenant, ..grant }),
            Some(_) | None => Verdict::Refuse(ReasonCode::NOT_AUTHORIZED),
        }
    }

    fn find<'a>(&'a self, grant: &'a Grant, peer: &'a Peer) -> Option<&'a str> {
        let user = grant.user.as_deref();
        match self {
            Self::Verdict => None,
            Self::Named(name) => Some(name),
            Self::Organization => peer
                .certificate
                .as_deref()
                .and_then(Certificate::organization),
            Self::User => user,
            Self::UserDomain => user?.rsplit_once('@').map(|(_, domain)| domain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    fn peer(organization: Option<&str>) -> Peer {
        let certificate = Certificate::new(
            Some("device".to_owned()),
            organization.map(str::to_owned),
            Vec::new(),
        );
        Peer {
            certificate: Some(Box::new(certificate.unwrap())),
            ..Peer::default()
        }
    }

    /// The tenant, if the client is let in.
    fn tenant(source: &TenantSource, grant: Grant, peer: &Peer) -> Option<Option<String>> {
        match source.settle(Verdict::Accept(grant), peer) {
            Verdict::Accept(grant) => Some(grant.tenant),
            Verdict::Refuse(reason) => {
                assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
                None
            }
            Verdict::Continue { .. } => panic!("nothing goes on"),
        }
    }

    fn in_tenant(name: &str) -> Option<Option<String>> {
        Some(Some(name.to_owned()))
    }

    #[test]
    fn a_tenant_comes_from_where_the_listener_says_and_nobody_is_in_none_by_mistake() {
        use TenantSource as From;
        let anonymous = Grant::default;
        let nobody = Peer::default();
        assert_eq!(tenant(&From::Verdict, anonymous(), &nobody), Some(None));
        let named = From::Named("acme".to_owned());
        assert_eq!(tenant(&named, anonymous(), &nobody), in_tenant("acme"));

        let organization = &From::Organization;
        let of = |name| tenant(organization, anonymous(), &peer(name));
        assert_eq!(of(Some("acme")), in_tenant("acme"));
        assert_eq!(of(None), None);
        assert_eq!(tenant(organization, anonymous(), &nobody), None);

        let user = |name| tenant(&From::User, Grant::to(name), &nobody);
        assert_eq!(user("acme"), in_tenant("acme"));
        assert_eq!(user(""), None);
        assert_eq!(tenant(&From::User, anonymous(), &nobody), None);

        let domain = |name| tenant(&From::UserDomain, Grant::to(name), &nobody);
        assert_eq!(domain("pump@site@acme"), in_tenant("acme"));
        assert_eq!(domain("pump"), None);
        assert_eq!(domain("pump@"), None);
        assert_eq!(domain("pump@a\u{1}b"), None);
        assert_eq!(tenant(&From::UserDomain, anonymous(), &nobody), None);
    }

    #[test]
    fn a_source_is_read_as_it_is_written() {
        let texts = [
            "acme",
            "from:organization",
            "from:user",
            "from:user-domain",
            "from:verdict",
        ];
        for text in texts {
            let source: TenantSource = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
        }
        for text in ["", "from:", "from:moon", "a\nb"] {
            assert!(text.parse::<TenantSource>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn who_verified_a_client_may_name_the_same_tenant_and_no_other() {
        let grant = |name: &str| Grant {
            tenant: Some(name.to_owned()),
            ..Grant::default()
        };
        let nobody = Peer::default();
        let verdict = &TenantSource::Verdict;
        assert_eq!(tenant(verdict, grant("acme"), &nobody), in_tenant("acme"));
        let named = TenantSource::Named("acme".to_owned());
        assert_eq!(tenant(&named, grant("acme"), &nobody), in_tenant("acme"));
        assert_eq!(tenant(&named, grant("other"), &nobody), None);
    }
}
