//! The file itself: read, and replaced as a whole, so that a broker that reads it meanwhile, or a
//! power cut, finds the old one or the new one.

use super::Failure;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is in the file.
pub(super) fn read(file: &str) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Failure::NoFile(file.to_owned())
        } else {
            Failure::File(file.to_owned(), error)
        }
    })
}

/// Replaces the text of the file by what `change` makes of it; does nothing and says `false` when
/// it makes nothing. A file that is not there has no text.
pub(super) fn replace(
    file: &str,
    change: impl FnOnce(&str) -> Option<String>,
) -> Result<bool, Failure> {
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
        Err(error) => return Err(failed(error)),
    };
    let Some(text) = change(&text) else {
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
