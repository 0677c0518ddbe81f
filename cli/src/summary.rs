//! What a configuration will run, in words: for `check`, and for the first lines of `serve`.

use crate::config::Settings;
use std::time::{SystemTime, UNIX_EPOCH};
use whimbrel_auth::Prepared;
use whimbrel_core::UnixTime;
use whimbrel_core::runtime::{
    Anonymous, CertificateUser, ClientCertificate, ListenerConfig, Scheme, TenantSource,
};

/// A listener in a line.
pub(crate) fn listener(listener: &ListenerConfig, prepared: &Prepared) -> String {
    let can_show = can_show(listener, prepared);
    let anonymous = match needs_a_name(listener) {
        true => Anonymous::Never,
        false => listener.allow_anonymous,
    };
    let who = match (anonymous, listener.url.is_local()) {
        (Anonymous::Always, _) if needs_a_certificate(listener) => {
            "open to everyone with a certificate of its authorities"
        }
        (Anonymous::Always, _) => "open to everyone who can reach it",
        (Anonymous::LoopbackOnly, true) => "open to this machine",
        (Anonymous::LoopbackOnly, false) if can_show => {
            "open to this machine, and to others who show who they are"
        }
        (Anonymous::LoopbackOnly, false) => "open to this machine only; see below",
        (Anonymous::Never, _) if can_show => "open to those who show who they are",
        (Anonymous::Never, _) => "open to nobody; see below",
    };
    let name = listener.name.as_ref();
    let name = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
    format!("{}{name} ({who})", listener.url)
}

/// The time of this machine.
pub(crate) fn now() -> UnixTime {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// Whether a client of this machine comes in without showing anything.
pub(crate) fn is_open(listener: &ListenerConfig) -> bool {
    let is_near = match listener.allow_anonymous {
        Anonymous::Always => true,
        Anonymous::LoopbackOnly => {
            let address = listener.url.address();
            listener.url.is_local() || address.is_some_and(|address| address.ip().is_unspecified())
        }
        Anonymous::Never => false,
    };
    is_near && !needs_a_name(listener) && listener.proxy_from.is_empty()
}

/// Whether clients have a way to show who they are.
fn can_show(listener: &ListenerConfig, prepared: &Prepared) -> bool {
    prepared.asks_somebody() || listener.certificate_user != CertificateUser::None
}

/// Whether only who has shown something has the tenant that the listener wants.
const fn needs_a_name(listener: &ListenerConfig) -> bool {
    match listener.tenant {
        TenantSource::User | TenantSource::UserDomain | TenantSource::Organization => true,
        TenantSource::Named(_) | TenantSource::Verdict => false,
    }
}

/// Whether only who has a certificate of some authority gets as far as being asked who it is.
fn needs_a_certificate(listener: &ListenerConfig) -> bool {
    !listener.client_ca.is_empty() && listener.client_certificate == ClientCertificate::Required
}

/// How clients could show who they are.
const fn remedy(listener: &ListenerConfig) -> &'static str {
    if listener.client_ca.is_empty() {
        "write password_file = \"users.txt\" below [authentication], and see docs/authentication.md"
    } else {
        "their certificates say it if you write certificate_user = \"common-name\" below the url of \
         that [[listener]]"
    }
}

/// What an operator should know before clients complain, or before others come in, each with the
/// remedy.
pub(crate) fn warnings(settings: &Settings, prepared: &Prepared) -> Vec<String> {
    let mut warnings = Vec::new();
    for listener in &settings.server.listeners {
        let url = &listener.url;
        let can_show = can_show(listener, prepared);
        let remedy = remedy(listener);
        match listener.allow_anonymous {
            _ if needs_a_name(listener) && !can_show => warnings.push(format!(
                "{url}: every client will be refused, since its tenant is to be \"{}\" and nobody is \
                 there to check who it is; {remedy}",
                listener.tenant
            )),
            Anonymous::LoopbackOnly if !url.is_local() && !can_show => {
                warnings.push(format!(
                    "{url}: clients from other machines will be refused; to check who they are, {remedy}; \
                     to let all of them in, write allow_anonymous = \"always\" below the url of that \
                     [[listener]], or set WHIMBREL_LISTENER_ALLOW_ANONYMOUS=always"
                ));
            }
            Anonymous::Never if !can_show => warnings.push(format!(
                "{url}: every client will be refused, since nobody is there to check who they are; {remedy}"
            )),
            Anonymous::Always
                if !url.is_local() && !needs_a_name(listener) && !needs_a_certificate(listener) =>
            {
                warnings.push(format!(
                    "{url}: everyone who can reach it is let in without showing anything, and may read and \
                     write all; to change that, take allow_anonymous = \"always\" away and write \
                     password_file = \"users.txt\" below [authentication]"
                ));
            }
            Anonymous::Always | Anonymous::LoopbackOnly | Anonymous::Never => {}
        }
        for (key, networks) in [
            ("proxy_from", &listener.proxy_from),
            ("forwarded_for_from", &listener.forwarded_for_from),
        ] {
            if let Some(all) = networks.iter().find(|network| network.is_everything()) {
                warnings.push(format!(
                    "{url}: {key} believes everybody ({all}), so whoever can reach it may claim any \
                     address, past bans and quotas; name the addresses of your proxies alone"
                ));
            }
        }
        let is_for_all = url.scheme() == Scheme::Unix && listener.unix_mode.0 & 0o002 != 0;
        if is_for_all && listener.allow_anonymous != Anonymous::Never {
            warnings.push(format!(
                "{url}: every user of this machine is let in without showing anything; unix_mode = \"660\" \
                 keeps it to its owner and group"
            ));
        }
        // What a proxy passes on was encrypted up to there, as far as anybody knows here.
        let is_readable =
            !url.is_local() && !url.scheme().has_tls() && listener.proxy_from.is_empty();
        if is_readable && prepared.asks_somebody() {
            warnings.push(format!(
                "{url}: who is between here and the clients can read their passwords and tokens; listen at \
                 tls:// or wss:// with a certificate, see docs/listeners.md, or at 127.0.0.1 alone"
            ));
        }
    }
    warnings.extend(settings.storage.warning().map(str::to_owned));
    warnings.extend(prepared.warnings().iter().map(ToString::to_string));
    warnings
}
