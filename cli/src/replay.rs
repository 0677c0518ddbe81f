//! `whimbrel replay`: does once more what a broker did when it was recorded, and tells of it.

mod files;
mod line;
mod packet;
mod play;
mod row;
mod save;
mod silence;
mod timeline;

use crate::output::complain;
use argh::{ArgsInfo, FromArgs};
use files::Found;
use play::Play;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;
use whimbrel_core::Event;
use whimbrel_core::action::Action;
use whimbrel_core::recording::{Input, Replay as Player, Step};
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
    error_code(0, "the same came out, of all that there is"),
    error_code(
        1,
        "it cannot be read or was made by another version; or something of it is damaged or missing, which is said, and what is left was played"
    ),
    error_code(2, "what was typed is wrong"),
    error_code(3, "something else came out; the message says where")
)]
pub(crate) struct Replay {
    /// the recording: what was said to --record, or one of its files
    #[argh(positional)]
    file: PathBuf,
    /// with --explain: the topic of the messages it is about, or a filter; or one message by its
    /// number, as in what --explain and --trace print (0.73452)
    #[argh(positional)]
    message: Option<String>,
    /// say why this client got a message, or did not
    #[argh(option, arg_name = "client id")]
    explain: Option<String>,
    /// with --explain: the tenant of the client, if it has one
    #[argh(option, arg_name = "name")]
    tenant: Option<String>,
    /// only this shard of it; default: all of them, by time
    #[argh(option, arg_name = "number")]
    shard: Option<u16>,
    /// print what happens, a line each
    #[argh(switch)]
    trace: bool,
    /// the same, of this client alone
    #[argh(option, arg_name = "client id")]
    client: Option<String>,
    /// stop there: a time since the beginning as in 12.5s and in what --trace prints, or when a
    /// client with this identifier is connected
    #[argh(option, arg_name = "time or client id")]
    until: Option<String>,
    /// write what was played of the last part to this new file, and what came of it to
    /// FILE.expected, for a test: tests/recordings/*.whimrec are played by `cargo test -p
    /// whimbrel-tests --test recording`; of several shards, each to a file of its own, with its
    /// number before the extension: FILE.0.whimrec
    #[argh(option, arg_name = "file")]
    save: Option<PathBuf>,
}

/// Why a recording was not played to its end.
#[derive(Debug, Error)]
enum Failure {
    #[error("replay: {0}")]
    Misuse(String),
    #[error("cannot read {file}: {source}")]
    Read { file: String, source: io::Error },
    #[error("there is no recording {file}: neither that file nor {file}.{shard}.000001 and so on")]
    None { file: String, shard: u16 },
    #[error("cannot write {file}: {source}")]
    Write { file: String, source: io::Error },
    #[error(
        "{file}: what comes out differs: first between {after} and {before}, behind step {from} \
         and before step {to}; to see how it came to that: whimbrel replay {file} --trace"
    )]
    Differs {
        file: String,
        after: String,
        before: String,
        from: u64,
        to: u64,
    },
    #[error(
        "{}, so it was played to its end (a time is written with its unit, as in 12.5s)",
        match has_session {
            true => format!("client {client} had its session before, and did not connect again"),
            false => format!("no client {client} was connected in what was played"),
        }
    )]
    NeverCame { client: String, has_session: bool },
}

impl Failure {
    const fn code(&self) -> u8 {
        match self {
            Self::Differs { .. } => 3,
            Self::Misuse(_) | Self::NeverCame { .. } => 2,
            Self::Read { .. } | Self::None { .. } | Self::Write { .. } => 1,
        }
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
    /// `None` is what looks like a time and is none.
    fn parse(text: &str) -> Option<Self> {
        const UNITS: [&str; 8] = ["", "d", "h", "m", "min", "ms", "s", "sec"];
        let seconds = text.strip_suffix('s').and_then(|text| text.parse().ok());
        if let Some(seconds) = seconds
            && f64::is_finite(seconds)
            && seconds >= 0.0
        {
            return Some(Self::Time((seconds * 1_000.0).round() as u64));
        }
        let number = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
        let unit = text[number.len()..].to_lowercase();
        let is_like_a_time = number.parse::<f64>().is_ok()
            && UNITS.contains(&&*unit)
            // Some clients are called by their serial numbers.
            && !text.bytes().all(|byte| byte.is_ascii_digit());
        (!is_like_a_time).then(|| Self::Client(text.to_owned()))
    }
}

/// What there was in a recording.
#[derive(Debug, Default)]
struct Summary {
    shards: BTreeSet<usize>,
    /// The greatest number of shards that a process had.
    shard_count: u16,
    parts: u64,
    steps: u64,
    received_bytes: u64,
    sent_bytes: u64,
    connected: u64,
    began: u64,
    ended: u64,
    defects: u64,
    /// Parts that end as they do when the process is killed.
    killed: Vec<String>,
    is_redacted: bool,
}

impl Replay {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let mut out = BufWriter::new(io::stdout().lock());
        let result = self.play(&mut out);
        match &result {
            Ok(summary) if summary.parts > 0 => drop(tell(summary, &mut out)),
            Ok(summary) => {
                for part in &summary.killed {
                    complain(&format!("{part}: no state of a broker is in it"));
                }
            }
            Err(_) => {}
        }
        // Whoever closed the pipe has read enough.
        if let Err(error) = out.flush()
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            complain(&format!("cannot write what was found: {error}"));
            return ExitCode::FAILURE;
        }
        match result {
            Ok(summary) if summary.defects == 0 && summary.parts > 0 => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(failure) => {
                complain(&failure.to_string());
                ExitCode::from(failure.code())
            }
        }
    }

    fn play(&self, out: &mut impl Write) -> Result<Summary, Failure> {
        let until = self.check()?;
        let found = files::find(&self.file, self.shard)?;
        let is_whole = matches!(found, Found::Shards(_)) && self.shard.is_none();
        let mut saved = save::Saved::new(self.save.as_deref(), None);
        let rows: Vec<_> = match found {
            Found::Part(path) => vec![[(None, path)].into()],
            Found::Shards(shards) => {
                saved = save::Saved::new(self.save.as_deref(), Some(&shards));
                let rows = shards.into_values();
                let numbered = |(number, path)| (Some(number), path);
                rows.map(|parts| parts.into_iter().map(numbered).collect())
                    .collect()
            }
        };
        saved.check()?;
        let mut summary = Play::new(self, until, (rows, saved), out).run()?;
        if is_whole && summary.shards.len() < usize::from(summary.shard_count) {
            let (played, all) = (summary.shards.len(), summary.shard_count);
            complain(&format!(
                "the broker had {all} shards, and there are {played} of them"
            ));
            summary.defects += 1;
        }
        Ok(summary)
    }

    /// Whether what was typed goes together; gives where to stop.
    fn check(&self) -> Result<Option<Until>, Failure> {
        let wrong = |why: String| Err(Failure::Misuse(why));
        if self.explain.is_some() != self.message.is_some() {
            let why = "--explain needs a client and a topic or the number of a message: FILE \
                       --explain CLIENT TOPIC";
            return wrong(why.to_owned());
        }
        if self.tenant.is_some() && self.explain.is_none() {
            return wrong("--tenant is that of the client of --explain".to_owned());
        }
        if let Some(Err(error)) = self.message.as_deref().map(TopicFilter::plain) {
            return wrong(format!(
                "what is to be explained is no topic or filter: {error}"
            ));
        }
        let Some(until) = &self.until else {
            return Ok(None);
        };
        match Until::parse(until) {
            Some(until) => Ok(Some(until)),
            None => wrong(format!(
                "--until {until}: a time is in seconds, as in 12.5s, and not before the beginning"
            )),
        }
    }

    /// The topic of the messages that something is asked about, or a filter. The one of a message
    /// that is named is not known before.
    fn topic(&self) -> Option<&str> {
        let topic = self.message.as_deref();
        topic.map(|topic| if line::is_number(topic) { "#" } else { topic })
    }

    /// The number of the only message that something is asked about.
    fn number(&self) -> Option<&str> {
        self.message.as_deref().filter(|name| line::is_number(name))
    }

    /// The clients that something is asked about.
    fn clients(&self) -> impl Iterator<Item = &str> {
        [&self.client, &self.explain]
            .into_iter()
            .filter_map(Option::as_deref)
    }
}

impl Summary {
    /// There is a part of this shard, whether it is played or not.
    fn finds(&mut self, player: &Player, row: usize) {
        self.shards.insert(row);
        self.shard_count = self.shard_count.max(player.shard_count());
    }

    fn begins(&mut self, player: &Player) {
        self.parts += 1;
        self.is_redacted |= player.is_redacted();
    }

    fn reached(&mut self, at: u64) {
        self.ended = self.ended.max(at);
    }

    fn count(&mut self, step: &Step) {
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
    let time = line::seconds(summary.ended.saturating_sub(summary.began));
    let count = |count: u64, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let shards = count(summary.shards.len() as u64, "shard");
    let parts = count(summary.parts, "part");
    let (steps, connects) = (summary.steps, summary.connected);
    let (received, sent) = (summary.received_bytes, summary.sent_bytes);
    let found = match summary.defects {
        0 => "the same came out",
        _ => "something is missing or damaged; of what is left, the same came out",
    };
    write!(
        out,
        "{found}: {shards}, {parts}, {time}, {steps} steps, {connects} connects, {received} bytes \
         in, {sent} bytes out"
    )?;
    if summary.is_redacted {
        write!(out, "; payloads are blotted out")?;
    }
    if !summary.killed.is_empty() {
        let killed = summary.killed.join(", ");
        write!(out, "; the end is missing, as after a kill: {killed}")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_stop_is_a_time_or_a_client() {
        assert_eq!(Until::parse("12.5s"), Some(Until::Time(12_500)));
        assert_eq!(Until::parse("0s"), Some(Until::Time(0)));
        assert_eq!(Until::parse("0.007s"), Some(Until::Time(7)));
        for client in ["pumps", "s", "infs", "490154203237518", "1-s", "7up"] {
            let expected = Some(Until::Client(client.to_owned()));
            assert_eq!(Until::parse(client), expected, "{client}");
        }
        for neither in ["0.3", "1ms", "1m", "-5s", "1S", "-1", "1e3min"] {
            assert_eq!(Until::parse(neither), None, "{neither}");
        }
    }
}
