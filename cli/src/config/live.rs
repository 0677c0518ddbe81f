//! Which settings a running broker takes over, and which only a restart does. Told of each key in
//! the table.

use super::Settings;
use super::key::Key;
use super::keys::SECTIONS;
use whimbrel_core::runtime::ListenerConfig;

/// The names of settings that differ and are only taken over by a restart.
pub(crate) fn changed(old: &Settings, new: &Settings) -> Vec<String> {
    let mut names = Vec::new();
    for section in &SECTIONS {
        let waiting = section.keys.iter().filter(|key| !key.is_live);
        for key in waiting {
            let differs = if section.repeated {
                urls(old) == urls(new) && listeners_differ(key, old, new)
            } else {
                differ(key, old, new)
            };
            if differs {
                names.push(format!("{}.{}", section.name, key.name));
            }
        }
    }
    if urls(old) != urls(new) {
        names.push("listener.url".to_owned());
    }
    names
}

/// Gives `running` the new values of the settings that it can take over. Listeners are told by
/// their URLs; the new rules have to be about those of `running`, see `gather`.
pub(crate) fn take_over(running: &mut Settings, new: &Settings) {
    running.authentication = new.authentication.clone();
    running.access = new.access.clone();
    running.log.level = new.log.level;
    running.server.broker.access = new.server.broker.access.clone();
    let mut others: Vec<&ListenerConfig> = new.server.listeners.iter().collect();
    for listener in &mut running.server.listeners {
        // Several may have one URL, when the system chooses their ports: each has its own.
        if let Some(at) = others.iter().position(|other| other.url == listener.url) {
            let other = others.remove(at);
            listener.allow_anonymous = other.allow_anonymous;
            listener.certificate_user = other.certificate_user;
        }
    }
}

fn urls(settings: &Settings) -> Vec<String> {
    let listeners = settings.server.listeners.iter();
    listeners.map(|listener| listener.url.to_string()).collect()
}

fn differ(key: &Key, old: &Settings, new: &Settings) -> bool {
    key.get(&mut old.clone()) != key.get(&mut new.clone())
}

fn listeners_differ(key: &Key, old: &Settings, new: &Settings) -> bool {
    let alone = |listener: &ListenerConfig| {
        let mut settings = Settings::default();
        settings.server.listeners = vec![listener.clone()];
        settings
    };
    let pairs = old.server.listeners.iter().zip(&new.server.listeners);
    let mut pairs = pairs.map(|(old, new)| (alone(old), alone(new)));
    pairs.any(|(old, new)| differ(key, &old, &new))
}
