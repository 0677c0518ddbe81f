//! `whimbrel replay`: does once more what a broker did when it was recorded, and tells of it.

mod line;
mod packet;

use crate::misuse;
use crate::output::complain;
use argh::{ArgsInfo, FromArgs};
use line::Teller;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use thiserror::Error;
use whimbrel_core::Event;
use whimbrel_core::action::Action;
use whimbrel_core::recording::{Replay as Player, ReplayError, Step, Stop};
use whimbrel_core::topic::TopicFilter;

/// Do once more what a broker did that was started with --record, and see whether the same comes
/// out: then say what happened, or how it could come to that.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "replay",
    help_triggers("-h", "--help", "help"),
    note = "A recording is made by this version of whimbrel, and is played by the same.",
    example = "{command_name} incident\n{command_name} incident --client pump-7 --until 12.5s\n{command_name} incident --explain pump-7 'sensors/#'\n{command_name} incident.0.000003 --trace",
    error_code(0, "the same came out"),
    error_code(1, "it cannot be read, is damaged, or was made by another version"),
    error_code(2, "what was typed is wrong"),
    error_code(3, "something else came out; the message says where")
)]
pub(crate) struct Replay {
    /// the recording: what was said to --record, or one of its files
    #[argh(positional)]
    file: PathBuf,
    /// with --explain: the topic of the messages it is about, or a filter
    #[argh(positional)]
    message: Option<String>,
    /// say why this client got a message, or did not
    #[argh(option, arg_name = "client id")]
    explain: Option<String>,
    /// with --explain: the tenant of the client, if it has one
    #[argh(option, arg_name = "name")]
    tenant: Option<String>,
    /// which shard of it; default: 0
    #[argh(option, default = "0", arg_name = "number")]
    shard: u16,
    /// print what happens, a line each
    #[argh(switch)]
    trace: bool,
    /// the same, of this client alone
    #[argh(option, arg_name = "client id")]
    client: Option<String>,
    /// stop there: a time since the beginning as in 12.5s, or when a client with this identifier is
    /// connected
    #[argh(option, arg_name = "time or client id")]
    until: Option<String>,
    /// write what was played to this file, for a test: tests/recordings/*.whimrec are played by
    /// `cargo test -p whimbrel-tests --test recording`
    #[argh(option, arg_name = "file")]
    save: Option<PathBuf>,
}

/// Why a recording was not played to its end.
#[derive(Debug, Error)]
enum Failure {
    #[error("cannot read {file}: {source}")]
    Read { file: String, source: io::Error },
    #[error("there is no recording {file}: neither that file nor {file}.{shard}.000001 and so on")]
    None { file: String, shard: u16 },
    #[error("cannot write {file}: {source}")]
    Write { file: String, source: io::Error },
    #[error("{file}: {source}")]
    Replay { file: String, source: ReplayError },
}

impl Failure {
    const fn code(&self) -> u8 {
        let differs = matches!(
            self,
            Self::Replay {
                source: ReplayError::Differs { .. },
                ..
            }
        );
        if differs { 3 } else { 1 }
    }
}

/// Where to stop.
#[derive(Clone, Debug, PartialEq)]
enum Until {
    /// So many milliseconds after the beginning.
    Time(u64),
    /// When this client is in.
    Client(String),
}

impl Until {
    fn parse(text: &str) -> Self {
        let seconds = text.strip_suffix('s').and_then(|text| text.parse().ok());
        match seconds {
            Some(seconds) if f64::is_finite(seconds) && seconds >= 0.0 => {
                Self::Time((seconds * 1_000.0) as u64)
            }
            _ => Self::Client(text.to_owned()),
        }
    }
}

/// What there was in a recording.
#[derive(Debug, Default)]
struct Summary {
    parts: u64,
    steps: u64,
    received_bytes: u64,
    sent_bytes: u64,
    connected: u64,
    began_ms: Option<u64>,
    ended_ms: u64,
    is_cut_off: bool,
    is_redacted: bool,
}

impl Replay {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        if self.explain.is_some() != self.message.is_some() {
            complain("replay: --explain needs a client and a topic: FILE --explain CLIENT TOPIC");
            return misuse();
        }
        if let Some(Err(error)) = self.message.as_deref().map(TopicFilter::plain) {
            complain(&format!(
                "replay: what is to be explained is no topic or filter: {error}"
            ));
            return misuse();
        }
        let mut out = BufWriter::new(io::stdout().lock());
        let result = self.play(&mut out);
        // Whoever closed the pipe has read enough.
        let _ = out.flush();
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                complain(&failure.to_string());
                ExitCode::from(failure.code())
            }
        }
    }

    fn play(&self, out: &mut impl Write) -> Result<(), Failure> {
        let until = self.until.as_deref().map(Until::parse);
        let mut summary = Summary::default();
        for file in self.parts()? {
            let shown = file.display().to_string();
            let part = std::fs::read(&file).map_err(|source| Failure::Read {
                file: shown.clone(),
                source,
            })?;
            let played = self.play_part(&part, until.as_ref(), &mut summary, out);
            let is_over = played.map_err(|failure| failure.in_file(shown))?;
            if is_over {
                break;
            }
        }
        let _ = tell(&summary, out);
        Ok(())
    }

    /// Gives whether that was where to stop.
    fn play_part(
        &self,
        part: &[u8],
        until: Option<&Until>,
        summary: &mut Summary,
        out: &mut impl Write,
    ) -> Result<bool, Failure> {
        let mut player = Player::new(part).map_err(Failure::of)?;
        if let (Some(client), Some(topic)) = (&self.explain, &self.message) {
            let tenant = self.tenant.as_deref().unwrap_or_default();
            player.explain(tenant, client, topic);
        }
        let start = player.now().monotonic.0;
        let began_ms = *summary.began_ms.get_or_insert(start);
        let mut teller = Teller::new(began_ms, self.client.as_deref());
        let is_told = self.trace || self.client.is_some();
        summary.parts += 1;
        summary.is_redacted |= player.is_redacted();
        let before = summary.steps;
        let mut is_over = false;
        while let Some(step) = player.step().map_err(Failure::of)? {
            summary.count(&step);
            summary.steps = before + player.step_count();
            summary.ended_ms = player.now().monotonic.0;
            is_over = match (until, &step) {
                (Some(Until::Time(ms)), Step::Time(now)) => now.monotonic.0 > began_ms + ms,
                (
                    Some(Until::Client(name)),
                    Step::Action(Action::Event(Event::Connected { client_id, .. })),
                ) => **client_id == *name.as_str(),
                _ => false,
            };
            if is_told {
                let _ = teller.tell(&player, &step, out);
            }
            while let Some(explanation) = player.poll_explanation() {
                let _ = teller.explain(&player, &explanation, out);
            }
            if is_over {
                break;
            }
        }
        summary.is_cut_off |= player.stop() == Some(Stop::CutOff);
        if let Some(file) = &self.save {
            std::fs::write(file, player.until_here()).map_err(|source| Failure::Write {
                file: file.display().to_string(),
                source,
            })?;
        }
        Ok(is_over)
    }

    /// The files of the recording, in order.
    fn parts(&self) -> Result<Vec<PathBuf>, Failure> {
        if self.file.is_file() {
            return Ok(vec![self.file.clone()]);
        }
        let shown = self.file.display().to_string();
        let directory = match self.file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!("{name}.{}.", self.shard);
        let entries = std::fs::read_dir(directory).map_err(|source| Failure::Read {
            file: shown.clone(),
            source,
        })?;
        let mut parts: Vec<(u64, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let number = name.to_str()?.strip_prefix(&prefix)?.parse().ok()?;
                Some((number, entry.path()))
            })
            .collect();
        parts.sort_unstable();
        if parts.is_empty() {
            let (file, shard) = (shown, self.shard);
            return Err(Failure::None { file, shard });
        }
        Ok(parts.into_iter().map(|(_, path)| path).collect())
    }
}

impl Failure {
    fn of(source: ReplayError) -> Self {
        let file = String::new();
        Self::Replay { file, source }
    }

    fn in_file(mut self, name: String) -> Self {
        if let Self::Replay { file, .. } = &mut self {
            *file = name;
        }
        self
    }
}

impl Summary {
    fn count(&mut self, step: &Step) {
        use whimbrel_core::recording::Input;
        if let Step::Input(Input::Receive(_, bytes), _) = step {
            self.received_bytes += bytes.len() as u64;
        } else if let Step::Sent(_, bytes) = step {
            self.sent_bytes += bytes.len() as u64;
        } else if let Step::Action(Action::Event(Event::Connected { .. })) = step {
            self.connected += 1;
        }
    }
}

fn tell(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let began_ms = summary.began_ms.unwrap_or_default();
    let seconds = summary.ended_ms.saturating_sub(began_ms) as f64 / 1_000.0;
    writeln!(
        out,
        "the same came out: {} parts, {seconds:.3} s, {} steps, {} connects, {} bytes in, {} bytes out{}{}",
        summary.parts,
        summary.steps,
        summary.connected,
        summary.received_bytes,
        summary.sent_bytes,
        if summary.is_redacted {
            "; payloads are blotted out"
        } else {
            ""
        },
        if summary.is_cut_off {
            "; the end is missing, as after a kill"
        } else {
            ""
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_stop_is_a_time_or_a_client() {
        assert_eq!(Until::parse("12.5s"), Until::Time(12_500));
        assert_eq!(Until::parse("0s"), Until::Time(0));
        for client in ["12.5", "pumps", "-1s", "s", "infs"] {
            assert_eq!(Until::parse(client), Until::Client(client.to_owned()));
        }
    }
}
