//! The program under measurement.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(120);

/// What all files in a directory take together.
pub(crate) fn used(data: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(data)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// A broker that runs, until it is dropped; then its data are gone as well.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    data: PathBuf,
    /// The file with what it says.
    said: PathBuf,
    keeps: bool,
}

impl Server {
    /// Starts it with an empty log.
    pub(crate) fn start(program: &Path, directory: &Path) -> io::Result<Self> {
        Self::start_set(program, directory, &[])
    }

    /// The same with some variables set.
    pub(crate) fn start_set(
        program: &Path,
        directory: &Path,
        variables: &[(&str, &str)],
    ) -> io::Result<Self> {
        let data = directory.join("data");
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut command = Command::new(program);
        command.args(["serve", "-d"]).arg(&data);
        command.envs(variables.iter().copied());
        let server = Self::spawn(command, data)?;
        server.settle()?;
        Ok(server)
    }

    /// Starts it without a disk.
    pub(crate) fn in_memory(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--memory"]);
        Self::spawn(command, PathBuf::new())
    }

    /// Waits until the files that it prepares ahead are there: a broker that has run for a while.
    fn settle(&self) -> io::Result<()> {
        let mut last = used(&self.data)?;
        let mut since = Instant::now();
        let deadline = Instant::now() + PATIENCE;
        while since.elapsed() < Duration::from_millis(400) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
            let bytes = used(&self.data)?;
            if bytes != last {
                (last, since) = (bytes, Instant::now());
            }
        }
        Ok(())
    }

    /// Starts it with what is there, and waits until it listens.
    pub(crate) fn start_with(program: &Path, data: PathBuf) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "-d"]).arg(&data);
        Self::spawn(command, data)
    }

    fn spawn(mut command: Command, data: PathBuf) -> io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let said = std::env::temp_dir().join(format!("whimbrel-said-{}", address.port()));
        let child = command
            .args(["--log-level", "info", "--log-format", "json"])
            .stderr(File::create(&said)?)
            .args(["-l", &format!("tcp://{address}")])
            .env("WHIMBREL_SESSION_QUEUE_MESSAGES_MAXIMUM", "4000000000")
            .env("WHIMBREL_SESSION_QUEUE_BYTES_MAXIMUM", "4000000000")
            .stdin(Stdio::null())
            .spawn()?;
        let server = Self {
            address,
            child,
            data,
            said,
            keeps: false,
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(server)
    }

    /// How many checkpoints it has completed.
    pub(crate) fn checkpoints(&self) -> io::Result<usize> {
        let said = fs::read_to_string(&self.said)?;
        Ok(said.matches("a checkpoint is complete").count())
    }

    /// Ends it without warning; its data stay.
    pub(crate) fn kill(mut self) -> PathBuf {
        self.keeps = true;
        self.data.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.said);
        if !self.keeps && self.data != Path::new("") {
            let _ = fs::remove_dir_all(&self.data);
        }
    }
}
