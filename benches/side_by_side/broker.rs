//! The brokers that are compared: how each is started, with nothing in its way.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a broker may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The argument with which this program is the bare forwarder.
pub(crate) const BARE: &str = "--bare";

/// A broker that takes part.
pub(crate) struct Contestant {
    pub(crate) name: String,
    version: Option<String>,
    program: PathBuf,
    arguments: Vec<String>,
    /// It is the bare forwarder.
    pub(crate) is_bare: bool,
    /// Written to a file whose name replaces `{file}`.
    file: Option<&'static str>,
}

/// Without limits on the queue.
const WHIMBREL: &str = "\
[session]
queue_messages_maximum = 1_000_000
queue_bytes_maximum = \"1 GiB\"
";

/// Without limits on queue and window, and sending at once.
const MOSQUITTO: &str = "\
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
log_type error
";

const RUMQTTD: &str = "\
id = 0

[router]
id = 0
max_connections = 20010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v4.1]
name = \"v4-1\"
listen = \"127.0.0.1:{port}\"
next_connection_delay_ms = 0

[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1048576
max_inflight_count = 500
dynamic_filters = true
";

impl Contestant {
    pub(crate) fn whimbrel(program: &Path) -> Self {
        Self::new(
            "Whimbrel",
            program.into(),
            "serve --memory --log-level warn -l tcp://127.0.0.1:{port} -c {file}",
            Some(WHIMBREL),
        )
    }

    /// Those that are found on this machine.
    pub(crate) fn installed() -> Vec<Self> {
        let known = [
            ("mosquitto", "-c {file}", MOSQUITTO),
            ("rumqttd", "-q -c {file}", RUMQTTD),
        ];
        let mut found = Vec::new();
        for (name, arguments, file) in known {
            match which(name) {
                Some(program) => found.push(Self::new(name, program, arguments, Some(file))),
                None => eprintln!("not run: {name} is not installed"),
            }
        }
        found
    }

    /// What takes part to show what the machine takes.
    pub(crate) fn bare() -> io::Result<Self> {
        Ok(Self {
            name: "bare forwarder".to_owned(),
            version: None,
            program: std::env::current_exe()?,
            arguments: vec![BARE.to_owned(), "{port}".to_owned()],
            is_bare: true,
            file: None,
        })
    }

    /// One that the caller knows how to start.
    pub(crate) fn given(name: &str, command: &str) -> Option<Self> {
        let (program, arguments) = command.split_once(' ').unwrap_or((command, ""));
        let program = which(program)?;
        Some(Self::new(name, program, arguments, None))
    }

    fn new(name: &str, program: PathBuf, arguments: &str, file: Option<&'static str>) -> Self {
        // What `--version` or, with mosquitto, `-h` says first and has a number in it.
        let version = ["--version", "-h"].iter().find_map(|question| {
            let output = Command::new(&program).arg(question).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().next()?.to_owned();
            let mut words = line.split(' ');
            words
                .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
                .map(str::to_owned)
        });
        Self {
            name: name.to_owned(),
            version,
            program,
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            is_bare: false,
            file,
        }
    }

    /// For the head of the table.
    pub(crate) fn title(&self) -> String {
        match &self.version {
            Some(version) => format!("{} {version}", self.name),
            None => self.name.clone(),
        }
    }
}

fn which(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).is_file().then(|| name.into());
    }
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|place| place.join(name));
    places.find(|place| place.is_file())
}

/// A broker that runs, until this is dropped.
pub(crate) struct Broker {
    pub(crate) port: u16,
    child: Child,
    file: Option<PathBuf>,
}

impl Broker {
    /// Starts it on a core of its own, and waits until it listens.
    pub(crate) fn start(contestant: &Contestant, core: usize) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let text_port = port.to_string();
        let mut file = None;
        if let Some(text) = contestant.file {
            // rumqttd tells by the name what kind of file it is.
            let name = format!("side-by-side-{}-{port}.toml", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, text.replace("{port}", &text_port))?;
            file = Some(path);
        }
        let file_name = file.as_deref().map(Path::to_string_lossy);
        let arguments = contestant.arguments.iter().map(|argument| {
            let argument = argument.replace("{port}", &text_port);
            argument.replace("{file}", file_name.as_deref().unwrap_or_default())
        });
        // `taskset` becomes the broker: the process that is started is the one that is measured.
        let child = Command::new("taskset")
            .args(["-c", &core.to_string()])
            .arg(&contestant.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Self { port, child, file };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                let what = format!("{} does not listen", contestant.name);
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Whatever is wrong with it: it is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }
}
