//! What a configuration needs of the system, and may not find there: certificates, directories. It
//! is looked at before anything is opened, by `check` and by `serve` alike.

use crate::config::{Backend, Loaded, Problem};
use crate::runtime::{CertificateFinding, check_certificates};
use crate::summary::now;
use std::path::Path;
#[cfg(unix)]
use whimbrel_host::SocketFile;

/// What was found, each with the place of the setting that is to be changed.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// A listener cannot be opened, and trying once more would not help.
    pub(crate) unusable: Vec<Problem>,
    /// A start succeeds, and then not all is well.
    pub(crate) errors: Vec<Problem>,
    /// What soon is an error, or may be one.
    pub(crate) notes: Vec<Problem>,
}

impl Surroundings {
    /// What listeners need.
    pub(crate) fn of_listeners(loaded: &Loaded) -> Self {
        let (mut found, now) = (Self::default(), now());
        for (index, listener) in loaded.settings.server.listeners.iter().enumerate() {
            let problem = |key: &str, message: String| Problem {
                place: loaded.listener_place(key, index),
                message,
            };
            for finding in check_certificates(listener, now) {
                let (list, error) = match finding {
                    CertificateFinding::Unusable(error) => (&mut found.unusable, error),
                    CertificateFinding::Error(error) => (&mut found.errors, error),
                    CertificateFinding::Warning(error) => (&mut found.notes, error),
                };
                list.push(problem(error.key, error.to_string()));
            }
            #[cfg(unix)]
            if let Some(path) = listener.url.file()
                && let Err(why) = SocketFile::check(path, listener)
            {
                let key = match why.starts_with("unix_owner") {
                    true => "unix_owner",
                    false => "url",
                };
                let message = format!("{}: {why}", listener.url);
                found.unusable.push(problem(key, message));
            }
        }
        found
    }

    /// What the directory needs as well, as far as the user who asks may see: the broker may run as
    /// somebody else.
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let mut found = Self::of_listeners(loaded);
        if loaded.settings.storage.backend == Backend::Memory {
            return found;
        }
        let problem = |message: String| Problem {
            place: loaded.place_or_default("storage.directory"),
            message: format!("storage.directory: {message}"),
        };
        // It is made where it is not there, with all that leads to it.
        let directory = Path::new(&loaded.settings.storage.directory);
        let there = directory.ancestors().find(|path| path.exists());
        let there = there.filter(|path| *path != Path::new(""));
        let there = there.unwrap_or_else(|| Path::new("."));
        let shown = there.display();
        if !there.is_dir() {
            found.errors.push(problem(format!(
                "{shown} is no directory; name another, such as /var/lib/whimbrel"
            )));
        } else if !may_write(there) {
            found.notes.push(problem(format!(
                "who runs this check may not write to {shown}; the broker has to run as somebody \
                 who may, or name another"
            )));
        }
        found
    }
}

#[cfg(unix)]
fn may_write(directory: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn may_write(_: &Path) -> bool {
    true
}
