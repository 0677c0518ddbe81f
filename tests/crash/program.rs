//! The real program, started and killed.

use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// A directory that is gone after the test, unless the test failed.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// `name` is for this test alone.
    pub(crate) fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the target directory can be written to");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the broker kept is in {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Runs a tool to its end.
///
/// # Panics
///
/// When it fails.
pub(crate) fn run(command: &mut Command) {
    let status = command.status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?}");
}

/// Where the program is: what `WHIMBREL` names, or else what cargo builds beside this test.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("WHIMBREL") {
            return path.into();
        }
        // <target>/<profile>/deps/crash-…
        let test = std::env::current_exe().expect("a test knows where it is");
        let profile = test
            .ancestors()
            .nth(2)
            .expect("it is in a target directory");
        let target = profile.parent().expect("it is in a target directory");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "-p", "whimbrel", "--target-dir"]);
        build.arg(target);
        if backend() == "sqlite" {
            build.args(["--features", "sqlite"]);
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.status().expect("cargo is there");
        assert!(
            built.success(),
            "the program is built, or named by WHIMBREL"
        );
        profile.join(format!("whimbrel{}", std::env::consts::EXE_SUFFIX))
    })
}

/// What the brokers keep things in: `WHIMBREL_BACKEND`, or else the log.
pub(crate) fn backend() -> String {
    std::env::var("WHIMBREL_BACKEND").unwrap_or_else(|_| "log".to_owned())
}

/// How to run a broker: where it listens and keeps things, and what else is set.
pub(crate) struct Setup {
    pub(crate) address: SocketAddr,
    directory: PathBuf,
    said: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Setup {
    /// A broker that keeps things in `directory`, and says what it says in the file `said`.
    pub(crate) fn new(directory: PathBuf, said: PathBuf) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        Self {
            address: free.expect("the system has a free port"),
            directory,
            said,
            variables: vec![("STORAGE_BACKEND", backend())],
        }
    }

    /// Sets `WHIMBREL_` and this name.
    pub(crate) fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.variables.push((name, value.to_string()));
        self
    }

    /// Starts it, without waiting for anything.
    pub(crate) fn start(&self) -> Program {
        let mut command = Command::new(program());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WHIMBREL_") {
                command.env_remove(name);
            }
        }
        for (name, value) in &self.variables {
            command.env(format!("WHIMBREL_{name}"), value);
        }
        let said = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.said)
            .expect("the directory of the test can be written to");
        let child = command
            .args(["serve", "-l", &format!("tcp://{}", self.address), "-d"])
            .arg(&self.directory)
            .args(["--log-level", "info"])
            .stdin(Stdio::null())
            .stderr(said)
            .spawn()
            .expect("the program runs");
        Program { child }
    }

    /// What all brokers of this setup have said, from the end.
    pub(crate) fn said(&self) -> String {
        let text = fs::read_to_string(&self.said).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// How often they have said something with this text.
    pub(crate) fn count(&self, text: &str) -> usize {
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        said.lines().filter(|line| line.contains(text)).count()
    }
}

/// A broker that runs, until it is killed or dropped.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// SIGKILL, and nothing of it runs any longer.
    ///
    /// # Panics
    ///
    /// When it has ended by itself: nobody asked it to.
    pub(crate) fn kill(&mut self, setup: &Setup) {
        let ended = self
            .child
            .try_wait()
            .expect("the system knows its children");
        assert!(
            ended.is_none(),
            "the broker ended by itself, {ended:?}; it said\n{}",
            setup.said()
        );
        self.child.kill().expect("ours to kill");
        self.child.wait().expect("ours to wait for");
    }

    /// Its process, for signals.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
