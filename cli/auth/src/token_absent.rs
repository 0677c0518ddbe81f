//! In the place of `token` in a program that was built without it: there are no tokens, and whoever
//! configures some is told.

use crate::config::{Config, Problem};
use whimbrel_core::access::identity::Grant;

/// Cannot be.
pub(crate) enum Tokens {}

/// Cannot be.
pub(crate) type BadToken = core::convert::Infallible;

impl Tokens {
    pub(crate) fn prepare(
        config: &Config,
        problems: &mut Vec<Problem>,
        _: &mut Vec<Problem>,
    ) -> Option<Self> {
        for (key, file) in [
            ("jwt_key_file", &config.jwt_key_file),
            ("jwt_secret_file", &config.jwt_secret_file),
        ] {
            if file.is_some() {
                let message = "this program was built without tokens".to_owned();
                problems.push(Problem { key, message });
            }
        }
        None
    }

    pub(crate) const fn is_token(_: &[u8]) -> bool {
        false
    }

    pub(crate) const fn stand_behind(&self, _: u64) -> bool {
        match *self {}
    }

    pub(crate) const fn check(&self, _: &[u8], _: &str) -> Result<Grant, BadToken> {
        match *self {}
    }
}

impl core::fmt::Display for Tokens {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {}
    }
}
