//! What a grant rests on, as a number that goes with it: the same for as long as the same lets
//! somebody in. So after a reload it is known of everybody who is connected whether that holds.

use core::hash::{BuildHasher, Hash};
use std::hash::RandomState;
use std::sync::LazyLock;

/// On what the listener says about clients that show nothing.
pub(crate) const NOTHING: u64 = 0;

/// On the certificate that the client has shown, of which the listener takes the user.
pub(crate) const CERTIFICATE: u64 = 1;

/// On something in a file, or on somebody who was asked: `kind` keeps those apart. Another number
/// in each process, so that it says nothing about a secret.
pub(crate) fn of(kind: &'static str, what: impl Hash) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one((kind, what)).max(CERTIFICATE + 1)
}
