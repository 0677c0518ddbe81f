//! What differs by version after decoding: questions with answers, so that no handler compares
//! versions.
//!
//! What MQTT 3.1 has of its own before that: DUP on what a client sends again, flags of a will that
//! is not there, and a name and a password that the packet ends before; see `codec`.

use crate::codec::packet::Version;

/// The version a connection speaks, and what its client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    version: Version,
    problem_information: bool,
}

crate::state::state!(Profile {
    version,
    problem_information
});

impl Profile {
    pub(crate) const fn new(version: Version, problem_information: bool) -> Self {
        Self {
            version,
            problem_information,
        }
    }

    pub(crate) const fn version(self) -> Version {
        self.version
    }

    /// Whether the server may tell why it closes: DISCONNECT from a server exists in 5.0 only.
    pub(crate) const fn hears_disconnect(self) -> bool {
        matches!(self.version, Version::V5)
    }

    /// Whether acknowledgements can refuse. A 3.x publisher can only be acknowledged or
    /// disconnected.
    pub(crate) const fn hears_refusals(self) -> bool {
        matches!(self.version, Version::V5)
    }

    /// Whether CONNACK may say that the server has state. 3.1 has no such flag.
    pub(crate) const fn hears_session_present(self) -> bool {
        !matches!(self.version, Version::V3)
    }

    /// Reason strings and user properties on packets other than PUBLISH, CONNACK and DISCONNECT are
    /// only for clients that asked for problem information. [MQTT-3.1.2-29]
    pub(crate) const fn hears_reason_strings(self) -> bool {
        matches!(self.version, Version::V5) && self.problem_information
    }

    /// Whether unacknowledged messages may be resent on a living connection.
    pub(crate) const fn may_retransmit(self) -> bool {
        !matches!(self.version, Version::V5)
    }

    /// Whether the server announces a receive maximum, so that going over it is the client's fault.
    pub(crate) const fn has_receive_maximum(self) -> bool {
        matches!(self.version, Version::V5)
    }

    /// Whether an empty client identifier is allowed at all. 3.1 wants 1 to 23 characters.
    pub(crate) const fn allows_empty_client_id(self) -> bool {
        !matches!(self.version, Version::V3)
    }

    /// Whether an empty client identifier needs a clean start.
    pub(crate) const fn empty_client_id_needs_clean_start(self) -> bool {
        matches!(self.version, Version::V4)
    }

    /// Whether the session's life is given by an expiry interval, and not by the clean session
    /// flag.
    pub(crate) const fn has_session_expiry(self) -> bool {
        matches!(self.version, Version::V5)
    }

    /// Whether a subscription can ask for more than a QoS. Who goes on with a session of 5.0 in an
    /// earlier version has asked for no more.
    pub(crate) const fn has_subscription_options(self) -> bool {
        matches!(self.version, Version::V5)
    }

    /// Whether packets have properties.
    pub(crate) const fn has_properties(self) -> bool {
        matches!(self.version, Version::V5)
    }
}
