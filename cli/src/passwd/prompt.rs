//! Asks for a password: on the terminal without showing it, or as a line of standard input.

use super::Failure;
use crate::input::read_line;
use std::io::{self, IsTerminal, Write};

/// How often a password is asked for on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// It exists, so a slip would be noticed.
    Once,
    /// It is new.
    Twice,
}

/// A little more than MQTT can carry, so that what is too long is noticed.
const BYTES_MAXIMUM: u64 = 65_535 + 3;

/// Asks for a password.
pub(super) fn read(times: Times) -> Result<Vec<u8>, Failure> {
    if !io::stdin().is_terminal() {
        return line().map_err(Failure::Terminal);
    }
    let password = ask("Password: ").map_err(Failure::Terminal)?;
    if times == Times::Twice {
        let again = ask("Once more: ").map_err(Failure::Terminal)?;
        if password != again {
            return Err(Failure::Password("the two passwords differ"));
        }
    }
    Ok(password)
}

fn ask(prompt: &str) -> io::Result<Vec<u8>> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(prompt.as_bytes())?;
    stderr.flush()?;
    let _silence = silence::Silence::begin()?;
    line()
}

/// One line without its end.
fn line() -> io::Result<Vec<u8>> {
    let mut line = read_line(BYTES_MAXIMUM)?;
    for end in [b'\n', b'\r'] {
        if line.last() == Some(&end) {
            line.pop();
        }
    }
    Ok(line)
}

#[cfg(unix)]
mod silence {
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use std::io;

    /// While it lives, the terminal does not show what is typed, but that the line has ended.
    pub(super) struct Silence(Termios);

    impl Silence {
        pub(super) fn begin() -> io::Result<Self> {
            let before = tcgetattr(io::stdin())?;
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            silent.local_modes.insert(LocalModes::ECHONL);
            tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
            Ok(Self(before))
        }
    }

    impl Drop for Silence {
        fn drop(&mut self) {
            // There is nothing better to do about a terminal that has gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        }
    }
}

#[cfg(not(unix))]
mod silence {
    use std::io;

    pub(super) struct Silence;

    impl Silence {
        pub(super) fn begin() -> io::Result<Self> {
            Err(io::Error::other(
                "this terminal cannot hide it; give it on standard input",
            ))
        }
    }
}
