//! What it costs to get in, by each transport: CPU time of the broker for a connection with its
//! handshake, and memory that it holds for one that is idle.
//!
//! ```sh
//! cargo build --release
//! cargo run --release -p whimbrel-benches --bin transports -- target/release/whimbrel
//! ```
//!
//! The broker is a process of its own and asked of the kernel, so the clients beside it do not
//! count. Every handshake is a full one: nothing is resumed. Keys are ECDSA with P-256.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use whimbrel_tests::authority::{Authority, Pair};
use whimbrel_tokio::client::{self, Config, Connection, Events, OpenError, ServerUrl, TlsOptions};

const SCHEMES: [&str; 6] = ["tcp", "unix", "ws", "tls", "wss", "quic"];

/// Connections that come before anything is measured, so that what is there once is there.
const WARM_UP: usize = 200;

/// Connections that are measured.
const MEASURED: usize = 2_000;

/// The same of QUIC: each client has a socket with buffers of its own here, megabytes each.
const MEASURED_QUIC: usize = 400;

/// Handshakes at a time.
const AT_ONCE: usize = 16;

/// How long a broker may take to let the first client in.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let Some(program) = std::env::args().nth(1) else {
        eprintln!("name the program: transports target/release/whimbrel");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime.map_err(Failure::from).and_then(|runtime| {
        println!("| transport | CPU for a connection | a second, on one core | memory when idle |");
        println!("|---|---|---|---|");
        SCHEMES
            .iter()
            .try_for_each(|scheme| runtime.block_on(row(Path::new(&program), scheme)))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn row(program: &Path, scheme: &str) -> Result<(), Failure> {
    let authority = Authority::new(&format!("bench-{scheme}"));
    let pair = authority.server("server", &["localhost"]);
    let broker = Broker::start(program, scheme, &authority, &pair)?;
    let tls = TlsOptions {
        ca: vec![authority.file()],
        ..TlsOptions::default()
    };
    let deadline = Instant::now() + PATIENCE;
    while open(&broker.server, &tls).await.is_err() {
        if Instant::now() > deadline {
            return Err(format!("{scheme}: nobody is let in").into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    let measured = match scheme {
        "quic" => MEASURED_QUIC,
        _ => MEASURED,
    };
    let early = open_many(WARM_UP, &broker.server, &tls).await?;
    let before = broker.usage().await?;
    let late = open_many(measured, &broker.server, &tls).await?;
    let after = broker.usage().await?;
    drop((early, late));
    let cpu_us = (after.cpu_ms - before.cpu_ms) as f64 * 1e3 / measured as f64;
    let kib = after.resident_kib.saturating_sub(before.resident_kib) as f64 / measured as f64;
    let rate = 1e6 / cpu_us;
    println!("| {scheme} | {cpu_us:.0} µs | {rate:.0} | {kib:.1} KiB |");
    Ok(())
}

type Client = (Connection, Events);

async fn open(server: &ServerUrl, tls: &TlsOptions) -> Result<Client, OpenError> {
    client::open_with(server, tls, Config::default()).await
}

/// So many clients, all of which stay.
async fn open_many(
    count: usize,
    server: &ServerUrl,
    tls: &TlsOptions,
) -> Result<Vec<Client>, Failure> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let (places, server, tls) = (Arc::clone(&places), server.clone(), tls.clone());
        opening.spawn(async move {
            let _place = places.acquire().await?;
            Ok::<_, Failure>(open(&server, &tls).await?)
        });
    }
    opening.join_all().await.into_iter().collect()
}

/// A broker that runs, until it is dropped.
struct Broker {
    server: ServerUrl,
    child: Child,
}

/// What the kernel says of a process.
struct Usage {
    cpu_ms: u64,
    resident_kib: u64,
}

impl Broker {
    fn start(
        program: &Path,
        scheme: &str,
        authority: &Authority,
        pair: &Pair,
    ) -> Result<Self, Failure> {
        let (place, name) = match scheme {
            "unix" => (authority.path("socket"), authority.path("socket")),
            // The port may be taken by somebody else in between; then nobody is let in.
            _ => {
                let port = match scheme {
                    "quic" => UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port(),
                    _ => TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
                };
                (format!("127.0.0.1:{port}"), format!("localhost:{port}"))
            }
        };
        let config = authority.write(
            "whimbrel.toml",
            &format!(
                "[[listener]]\nurl = \"{scheme}://{place}\"\ncertificate = [{:?}]\nkey = [{:?}]\n",
                pair.certificate, pair.key
            ),
        );
        let child = Command::new(program)
            .args(["serve", "--memory", "--log-level", "error", "-c", &config])
            .stdin(Stdio::null())
            .spawn()?;
        let server = format!("{scheme}://{name}").parse()?;
        Ok(Self { server, child })
    }

    /// What it has used, once it has done what there was to do.
    async fn usage(&self) -> io::Result<Usage> {
        sleep(Duration::from_secs(1)).await;
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let id = self.child.id();
        let statistics = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name before it may have spaces; ticks of 10 ms are the 14th and 15th field.
        let (_, fields) = statistics.rsplit_once(')').ok_or_else(bad)?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident_kib = resident
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .ok_or_else(bad)?;
        Ok(Usage {
            cpu_ms: ticks * 10,
            resident_kib,
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Whatever is wrong with it: it is over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
