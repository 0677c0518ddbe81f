//! In the place of `service` in a program that was built without it: nobody is asked over HTTP, and
//! whoever configures somebody is told.

use crate::config::{Config, Problem};
use crate::pool::Pool;
use thiserror::Error;
use whimbrel_core::access::identity::Grant;
use whimbrel_core::action::Credentials;

/// Cannot be.
pub(crate) struct Service {
    pub(crate) pool: Pool,
    never: core::convert::Infallible,
}

/// As in `service`; never made.
#[derive(Debug, Error)]
#[error("nobody is asked")]
#[expect(dead_code, reason = "the same names as in `service`")]
pub(crate) enum Refused {
    Denied,
    NotText,
    Unavailable(String),
}

impl Service {
    pub(crate) fn prepare(
        config: &Config,
        problems: &mut Vec<Problem>,
        _: &mut Vec<Problem>,
    ) -> Option<Self> {
        if config.http_url.is_some() {
            problems.push(Problem {
                key: "http_url",
                message: "this program was built without asking a service".to_owned(),
            });
        }
        None
    }

    pub(crate) const fn basis(&self) -> u64 {
        match self.never {}
    }

    pub(crate) const fn ask(&self, _: &Credentials) -> Result<Grant, Refused> {
        match self.never {}
    }
}

impl core::fmt::Display for Service {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.never {}
    }
}
