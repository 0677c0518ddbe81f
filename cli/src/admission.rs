//! Who may connect, as long as there is nothing to check passwords against: a user name that nobody
//! can verify is worth no more than none, so the listener's rule on anonymous clients holds for
//! everyone.

use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::runtime::{Anonymous, Authenticator, Decision, ListenerConfig};

/// The rules of all listeners, in their order.
pub(crate) struct Unverified(Vec<Anonymous>);

impl Unverified {
    pub(crate) fn new(listeners: &[ListenerConfig]) -> Self {
        Self(listeners.iter().map(|l| l.allow_anonymous).collect())
    }

    fn admits(&self, credentials: &Credentials) -> bool {
        let rule = self.0.get(usize::from(credentials.peer.listener));
        rule.is_some_and(|rule| rule.allows(credentials.peer.address))
    }
}

impl Authenticator for Unverified {
    fn authenticate(&self, credentials: Credentials) -> Decision {
        let verdict = if credentials.method.is_some() {
            Verdict::Refuse(ReasonCode::BAD_AUTHENTICATION_METHOD)
        } else if self.admits(&credentials) {
            Verdict::accept()
        } else {
            Verdict::Refuse(ReasonCode::NOT_AUTHORIZED)
        };
        Decision::Now(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whimbrel_core::Peer;
    use whimbrel_core::codec::packet::Version;

    fn verdict(rule: Anonymous, from: &str, method: Option<&str>) -> Verdict {
        let listener = ListenerConfig {
            allow_anonymous: rule,
            ..ListenerConfig::default()
        };
        let credentials = Credentials {
            peer: Peer {
                address: Some(from.parse().unwrap()),
                ..Peer::default()
            },
            version: Version::V5,
            client_id: "someone".to_owned(),
            username: Some("root".to_owned()),
            password: Some(b"guess".to_vec()),
            method: method.map(str::to_owned),
            data: None,
            continued: false,
        };
        match Unverified::new(&[listener]).authenticate(credentials) {
            Decision::Now(verdict) => verdict,
            Decision::Later(_) => panic!("there is nothing to wait for"),
        }
    }

    #[test]
    fn a_user_name_nobody_can_verify_opens_nothing() {
        let accept = Verdict::accept();
        let refuse = Verdict::Refuse(ReasonCode::NOT_AUTHORIZED);
        for (rule, from, expected) in [
            (Anonymous::LoopbackOnly, "127.0.0.1:1", &accept),
            (Anonymous::LoopbackOnly, "192.0.2.1:1", &refuse),
            (Anonymous::Always, "192.0.2.1:1", &accept),
            (Anonymous::Never, "127.0.0.1:1", &refuse),
        ] {
            assert_eq!(verdict(rule, from, None), *expected, "{rule:?} {from}");
        }
        assert_eq!(
            verdict(Anonymous::Always, "127.0.0.1:1", Some("SCRAM-SHA-256")),
            Verdict::Refuse(ReasonCode::BAD_AUTHENTICATION_METHOD)
        );
    }
}
