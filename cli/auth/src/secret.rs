//! Reading files that hold secrets: what is wrong with them in words, and a warning when others can
//! read them.

use std::fs::File;
use std::io::{self, Read};

/// Far more than a hundred thousand users take.
const BYTES_MAXIMUM: u64 = 64 << 20;

/// What a file holds.
pub(crate) struct Secret {
    pub(crate) text: String,
    /// What an operator should change about the file.
    pub(crate) warning: Option<String>,
}

/// Reads a file that holds a secret.
///
/// # Errors
///
/// In words, with the remedy: it is not there, may not be read, is no file, is not text.
pub(crate) fn read(path: &str) -> Result<Secret, String> {
    let (bytes, warning) = read_all(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            format!("{path}: there is no such file")
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            format!("{path}: may not be read; make it readable for the user the broker runs as")
        } else {
            format!("{path}: cannot be read: {error}")
        }
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Secret { text, warning }),
        Err(_) => Err(format!("{path}: is not UTF-8 text")),
    }
}

fn read_all(path: &str) -> io::Result<(Vec<u8>, Option<String>)> {
    // Opening a pipe would wait for somebody to write into it.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > BYTES_MAXIMUM {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    let file = File::open(path)?;
    let warning = exposure(path, &file.metadata()?);
    let mut bytes = Vec::new();
    file.take(BYTES_MAXIMUM).read_to_end(&mut bytes)?;
    Ok((bytes, warning))
}

#[cfg(unix)]
fn exposure(path: &str, metadata: &std::fs::Metadata) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode();
    let who = match mode {
        _ if mode & 0o002 != 0 => "every user of this machine can change it",
        _ if mode & 0o020 != 0 => "its group can change it",
        _ if mode & 0o004 != 0 => "every user of this machine can read it",
        _ => return None,
    };
    Some(format!("{path}: {who}; do `chmod 640 {path}`, or 600"))
}

#[cfg(not(unix))]
fn exposure(_: &str, _: &std::fs::Metadata) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::{Permissions, remove_file, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_that_others_can_read_or_change_are_told() {
        let path = std::env::temp_dir().join(format!("whimbrel-secret-{}", std::process::id()));
        write(&path, "x").unwrap();
        let name = path.to_str().unwrap();
        for (mode, expected) in [
            (0o600, None),
            (0o640, None),
            (0o644, Some("every user of this machine can read it")),
            (0o660, Some("its group can change it")),
            (0o666, Some("every user of this machine can change it")),
        ] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let warning = read(name).unwrap().warning;
            match expected {
                None => assert_eq!(warning, None),
                Some(expected) => assert!(warning.unwrap().contains(expected)),
            }
        }
        remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_no_file_is_told_and_not_waited_for() {
        let error = |path| read(path).err().unwrap();
        assert!(error("/nowhere/at all").contains("there is no such file"));
        assert!(error("/").contains("not a regular file"));
        assert!(error("/dev/null").contains("not a regular file"));
    }
}
