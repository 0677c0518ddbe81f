//! Files that commands change for people: read, and replaced as a whole, so that a broker that
//! reads one meanwhile, or a power cut, finds the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a file was not read or not changed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{0}: there is no such file; `whimbrel {1}` makes it")]
    NoFile(String, &'static str),
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    #[error("{0} is there: another command is changing the file, or was cut off; remove it then")]
    AtWork(String),
}

/// What is in the file. `maker` is the command that would make it.
///
/// # Errors
///
/// It is not there, or cannot be read.
pub(crate) fn read(file: &str, maker: &'static str) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Failure::NoFile(file.to_owned(), maker)
        } else {
            Failure::File(file.to_owned(), error)
        }
    })
}

/// Replaces the text of the file by what `change` makes of it; does nothing and says `false` when
/// it makes nothing. A file that is not there has no text.
///
/// # Errors
///
/// The file cannot be read or replaced, or `change` fails; it is as it was then.
pub(crate) fn replace<E: From<Failure>>(
    file: &str,
    change: impl FnOnce(&str) -> Result<Option<String>, E>,
) -> Result<bool, E> {
    let failed = |error| Failure::File(file.to_owned(), error);
    // The file that a link leads to is replaced, not the link.
    let path = fs::canonicalize(file).unwrap_or_else(|_| PathBuf::from(file));
    let draft = Draft::begin(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            Failure::AtWork(Draft::path(&path).display().to_string())
        } else {
            failed(error)
        }
    })?;
    // Read only now: nobody else changes it as long as the draft is there.
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error).into()),
    };
    let Some(text) = change(&text)? else {
        return Ok(false);
    };
    draft.finish(&text, &path).map_err(failed)?;
    Ok(true)
}

/// The new file until it is whole. Removed when it does not get there.
struct Draft {
    file: File,
    /// `None` when it has taken the place of the old one.
    path: Option<PathBuf>,
}

impl Draft {
    fn path(target: &Path) -> PathBuf {
        let mut name = target.as_os_str().to_owned();
        name.push(".new");
        name.into()
    }

    /// Readable by its owner alone, from the first moment.
    fn begin(target: &Path) -> io::Result<Self> {
        let path = Self::path(target);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok(Self {
            file,
            path: Some(path),
        })
    }

    fn finish(mut self, text: &str, target: &Path) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        #[cfg(unix)]
        if let Ok(was) = fs::metadata(target) {
            use std::os::unix::fs::{MetadataExt, fchown};
            // The broker may run as somebody else, who could read the old file.
            fchown(&self.file, Some(was.uid()), Some(was.gid()))?;
            self.file.set_permissions(was.permissions())?;
        }
        self.file.sync_all()?;
        fs::rename(Self::path(target), target)?;
        self.path = None;
        let directory = target.parent().filter(|path| !path.as_os_str().is_empty());
        #[cfg(unix)]
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}
