//! Ten minutes of everything that fills a broker at once, against a budget: what it takes of the
//! machine meanwhile, and whether two clients that behave are still served.
//!
//! ```sh
//! cargo build --release
//! cargo run --release -p whimbrel-benches --bin overload -- target/release/whimbrel [SECONDS]
//! ```
//!
//! The broker keeps everything in memory and has a budget of 64 MiB. It is a process of its own:
//! what it has resident is the kernel's count, what it says of itself is read from its log. Lines
//! of the table come every tenth of the time.

mod loads;
mod witness;

use loads::LOADS;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use witness::Witness;

/// What the broker may take, by its own count.
const BUDGET_MIB: u64 = 64;

/// How long everything goes on, unless the caller says.
const SECONDS: u64 = 600;

/// Lines of the table.
const LINES: u32 = 10;

/// How long the broker may take to listen, and to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What all loads look at.
struct Scene {
    address: SocketAddr,
    is_over: AtomicBool,
    /// Messages that publishers have sent.
    sent: AtomicU64,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map(|program| {
        let seconds = arguments.next().map_or(Ok(SECONDS), |text| text.parse());
        (program, seconds)
    });
    let Some((program, Ok(seconds))) = seconds else {
        eprintln!("usage: overload target/release/whimbrel [SECONDS]");
        return ExitCode::from(2);
    };
    match run(Path::new(&program), Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: &Path, time: Duration) -> io::Result<()> {
    let broker = Broker::start(program)?;
    let scene = Arc::new(Scene {
        address: broker.address,
        is_over: AtomicBool::new(false),
        sent: AtomicU64::new(0),
    });
    let mut witness = Witness::new(&scene)?;
    for (name, load) in LOADS {
        let scene = Arc::clone(&scene);
        thread::spawn(move || {
            // Whoever is cut off comes again, as they do.
            while !scene.is_over.load(Ordering::Relaxed) {
                if let Err(error) = load(&scene)
                    && !matches!(
                        error.kind(),
                        io::ErrorKind::UnexpectedEof
                            | io::ErrorKind::BrokenPipe
                            | io::ErrorKind::ConnectionReset
                    )
                {
                    eprintln!("{name}: {error}");
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
    }
    println!(
        "| after | resident | counted | waiting | retained | sessions | dropped | refused | \
         messages a second | the witness: p50 | p99 | lost |"
    );
    println!("|{}", "--:|".repeat(12));
    let began = Instant::now();
    let mut sent = 0;
    for line in 1..=LINES {
        let until = time * line / LINES;
        witness.go_on(until.saturating_sub(began.elapsed()))?;
        let now = scene.sent.load(Ordering::Relaxed);
        let rate = (now - core::mem::replace(&mut sent, now)) * u64::from(LINES);
        let says = broker.says()?;
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        println!(
            "| {} s | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            until.as_secs(),
            mib(broker.resident_bytes()?),
            mib(says.number("memory_bytes")),
            says.number("queued_messages"),
            says.number("retained_messages"),
            says.number("sessions"),
            says.sum("dropped_"),
            says.number("publishes_refused"),
            rate / time.as_secs().max(1),
            witness.report(),
        );
    }
    scene.is_over.store(true, Ordering::Relaxed);
    println!(
        "\nat most {:.1} MiB resident",
        broker.peak_bytes()? as f64 / f64::from(1 << 20)
    );
    Ok(())
}

/// The program, until it is dropped.
struct Broker {
    address: SocketAddr,
    child: Child,
    /// The file with what it says.
    said: PathBuf,
}

/// A line of its statistics.
struct Says(serde_json::Value);

impl Says {
    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or(0)
    }

    /// Of all numbers whose names begin like this.
    fn sum(&self, prefix: &str) -> u64 {
        let fields = self.0.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| name.starts_with(prefix))
            .filter_map(|(_, number)| number.as_u64())
            .sum()
    }
}

impl Broker {
    fn start(program: &Path) -> io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let said = std::env::temp_dir().join(format!("whimbrel-overload-{}", address.port()));
        let child = Command::new(program)
            .args(["serve", "--memory", "-l", &format!("tcp://{address}")])
            .args(["--log-level", "info", "--log-format", "json"])
            .env(
                "WHIMBREL_LIMITS_MEMORY_BUDGET_BYTES",
                (BUDGET_MIB << 20).to_string(),
            )
            .stdin(Stdio::null())
            .stderr(File::create(&said)?)
            .spawn()?;
        let broker = Self {
            address,
            child,
            said,
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(broker)
    }

    /// Asks it for its statistics.
    fn says(&self) -> io::Result<Says> {
        let known = fs::read_to_string(&self.said)?.lines().count();
        Command::new("kill")
            .args(["-USR1", &self.child.id().to_string()])
            .status()?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let text = fs::read_to_string(&self.said)?;
            let mut news = text.lines().skip(known);
            if let Some(line) = news.find(|line| line.contains("\"memory_bytes\""))
                && let Ok(mut line) = serde_json::from_str::<serde_json::Value>(line)
            {
                let fields = line["fields"].take();
                return Ok(Says(if fields.is_object() { fields } else { line }));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it gives no statistics",
        ))
    }

    fn resident_bytes(&self) -> io::Result<u64> {
        self.status("VmRSS:")
    }

    fn peak_bytes(&self) -> io::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib << 10)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Whatever is wrong with it: it is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.said);
    }
}
