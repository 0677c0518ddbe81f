//! A directory of its own and a program to run in it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

/// How long anything may take. Far more than it needs, far less than a hung test run.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that is gone after the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// `name` is for this test alone.
    pub(crate) fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A broker that keeps nothing, for tests that are not about what it keeps.
pub(crate) fn forgetful(arguments: &[&str]) -> Command {
    let mut command = whimbrel(arguments);
    command.env("WHIMBREL_STORAGE_BACKEND", "memory");
    command
}

/// The program, without settings of whoever runs the tests. `WHIMBREL` names another one, such as a
/// build for another processor.
pub(crate) fn whimbrel(arguments: &[&str]) -> Command {
    let built = || env!("CARGO_BIN_EXE_whimbrel").into();
    let mut command = Command::new(std::env::var_os("WHIMBREL").unwrap_or_else(built));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WHIMBREL_") {
            command.env_remove(name);
        }
    }
    command
}

/// A program that runs until it is stopped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What it has said so far.
    pub(crate) said: Vec<String>,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(command: Command) -> Self {
        let (sender, lines) = channel();
        Self::start_heard(command, lines, move |line| sender.send(line).is_ok())
    }

    /// Starts it. What it says is read only while it is waited for.
    pub(crate) fn start_unheard(command: Command) -> Self {
        let (sender, lines) = sync_channel(0);
        Self::start_heard(command, lines, move |line| sender.send(line).is_ok())
    }

    fn start_heard(
        mut command: Command,
        lines: Receiver<String>,
        mut hear: impl FnMut(String) -> bool + Send + 'static,
    ) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if !hear(line) {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// Waits for a line that contains `text`, and returns it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline - Instant::now()) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!(
                    "{error} while waiting for {text:?}; it said {:#?}",
                    self.said
                ),
            }
        }
    }

    /// Waits for it to listen, and returns the address.
    pub(crate) fn address(&mut self) -> String {
        self.address_of("tcp")
    }

    /// The same with another scheme.
    pub(crate) fn address_of(&mut self, scheme: &str) -> String {
        let line = self.wait_for("listening");
        let (_, address) = line
            .split_once(&format!("url={scheme}://"))
            .expect("it says where");
        address.trim().to_owned()
    }

    /// Ends it as a power cut would, as far as a program can tell.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id();
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(status.unwrap().success());
    }

    /// From now on it has no descriptor of this number or a higher one.
    #[cfg(target_os = "linux")]
    pub(crate) fn limit_descriptors(&self, current: u64) {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let pid = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        let limit = Rlimit {
            current: Some(current),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline - Instant::now()) {
                Ok(line) => self.said.push(line),
                // It holds standard error as long as it lives.
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it still runs; it said {:#?}", self.said)
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
