//! What a configuration will run, in words: for `check`, and for the first lines of `serve`.

use crate::config::Settings;
use whimbrel_core::runtime::{Anonymous, ListenerConfig};

/// A listener in a line.
pub(crate) fn listener(listener: &ListenerConfig) -> String {
    let local = listener.url.is_local();
    let who = match (listener.allow_anonymous, local) {
        (Anonymous::Always, _) => "open to everyone who can reach it",
        (Anonymous::LoopbackOnly, true) => "open to this machine",
        (Anonymous::LoopbackOnly, false) => "open to this machine only; see below",
        (Anonymous::Never, _) => "open to nobody; see below",
    };
    let name = listener.name.as_ref();
    let name = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
    format!("{}{name} ({who})", listener.url)
}

/// What an operator should know before clients complain, each with the remedy.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    for listener in &settings.server.listeners {
        let url = &listener.url;
        match listener.allow_anonymous {
            Anonymous::LoopbackOnly if !url.is_local() => {
                warnings.push(format!(
                    "{url}: clients from other machines will be refused; to let all of them in, \
                     write allow_anonymous = \"always\" below the url of that [[listener]], or set \
                     WHIMBREL_LISTENER_ALLOW_ANONYMOUS=always"
                ));
            }
            Anonymous::Never => warnings.push(format!(
                "{url}: every client will be refused, since this version cannot check passwords; \
                 write allow_anonymous = \"loopback-only\" or \"always\""
            )),
            Anonymous::Always | Anonymous::LoopbackOnly => {}
        }
    }
    warnings
}
