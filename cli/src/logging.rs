//! Where the log goes: standard error, for people or as JSON, a line for each event. Nobody waits
//! for who reads it: what is not taken at once is lost, and counted.
//!
//! There are no spans in this program, and no filter but a level, so this is all it takes; what is
//! made for more would be a tenth of the program for small devices.

use crate::config::{Format, Level as Lowest, Log};
use crate::message_format::{Object, rfc3339};
use std::fmt::{self, Write as _};
use std::io::{IsTerminal, StderrLock, Write as _, stderr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, error, warn};

/// What a pipe takes at once, in bytes, if it takes anything.
const PIECE_BYTES: usize = 4_096;

/// The least important lines that are written: a number of `Lowest`. It may change at any time.
static LOWEST: AtomicU8 = AtomicU8::new(Lowest::Info as u8);

/// Lines that were not written since the last that was.
static LOST: AtomicU32 = AtomicU32::new(0);

/// The last that was written has no end.
static TORN: AtomicBool = AtomicBool::new(false);

/// Starts to log. Call it once.
pub(crate) fn start(log: &Log) {
    let has_colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    LOWEST.store(log.level as u8, Ordering::Relaxed);
    let lines = Lines {
        format: log.format,
        has_colours,
    };
    tracing::subscriber::set_global_default(lines).expect("the log is started once");
}

/// From now on lines of this level and of more important ones are written.
pub(crate) fn set_level(level: Lowest) {
    LOWEST.store(level as u8, Ordering::Relaxed);
    // Places in the program remember whether their lines are written.
    tracing::callsite::rebuild_interest_cache();
}

fn lowest() -> LevelFilter {
    match LOWEST.load(Ordering::Relaxed) {
        level if level == Lowest::Error as u8 => LevelFilter::ERROR,
        level if level == Lowest::Warn as u8 => LevelFilter::WARN,
        level if level == Lowest::Info as u8 => LevelFilter::INFO,
        level if level == Lowest::Debug as u8 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Writes every event as a line.
struct Lines {
    format: Format,
    has_colours: bool,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= lowest()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(lowest())
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = match self.format {
            Format::Human => human(event, SystemTime::now(), self.has_colours),
            Format::Json => json(event, SystemTime::now()),
        };
        line.push('\n');
        write_line(line.as_bytes());
    }

    // Spans: nobody opens one.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Writes as much of it as is taken at once: whoever logs has others to serve.
fn write_line(line: &[u8]) {
    let mut out = stderr().lock();
    if LOST.load(Ordering::Relaxed) > 0 && takes_bytes(&out) {
        if TORN.swap(false, Ordering::Relaxed) {
            let _ = out.write_all(b"\n");
        }
        let lost = LOST.swap(0, Ordering::Relaxed);
        // Comes back here first, and may be lost itself.
        const TOLD: &str = "lines of this log were lost: nobody has read them";
        match lowest() >= Level::WARN {
            true => warn!(lost, "{TOLD}"),
            false => error!(lost, "{TOLD}"),
        }
        if LOST.load(Ordering::Relaxed) > 0 {
            LOST.fetch_add(lost, Ordering::Relaxed);
        }
    }
    for (number, piece) in line.chunks(PIECE_BYTES).enumerate() {
        if !takes_bytes(&out) {
            LOST.fetch_add(1, Ordering::Relaxed);
            TORN.fetch_or(number > 0, Ordering::Relaxed);
            return;
        }
        // Should nobody be there, there is nobody to tell.
        let _ = out.write_all(piece);
    }
}

/// Whether nobody would wait for a piece of a line to be written.
#[cfg(unix)]
fn takes_bytes(out: &StderrLock<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::retry_on_intr;
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut asked = [PollFd::new(out, PollFlags::OUT)];
    // A signal that comes in between says nothing.
    let ready = retry_on_intr(|| poll(&mut asked, Some(&at_once)));
    ready.is_ok_and(|ready| ready > 0)
}

#[cfg(not(unix))]
fn takes_bytes(_: &StderrLock<'_>) -> bool {
    true
}

fn human(event: &Event<'_>, time: SystemTime, has_colours: bool) -> String {
    let level = *event.metadata().level();
    let (dim, colour, plain) = match (has_colours, level) {
        (false, _) => ("", "", ""),
        (true, Level::ERROR) => ("\x1b[2m", "\x1b[31m", "\x1b[0m"),
        (true, Level::WARN) => ("\x1b[2m", "\x1b[33m", "\x1b[0m"),
        (true, Level::INFO) => ("\x1b[2m", "\x1b[32m", "\x1b[0m"),
        (true, _) => ("\x1b[2m", "\x1b[34m", "\x1b[0m"),
    };
    let time = rfc3339(time);
    let mut words = Words::default();
    event.record(&mut words);
    let Words { message, fields } = words;
    format!("{dim}{time}{plain} {colour}{level:>5}{plain} {message}{dim}{fields}{plain}")
}

/// What an event says, for people.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = format!("{value:?}");
        let is_message = field.name() == "message";
        // Where a value ends is seen.
        if !is_message && text.contains(' ') && !text.starts_with('"') {
            text = format!("{text:?}");
        }
        let out = if is_message {
            &mut self.message
        } else {
            let _ = write!(self.fields, " {}=", field.name());
            &mut self.fields
        };
        // What peers say cannot begin a line, or speak to the terminal.
        for character in text.chars() {
            if character.is_control() {
                out.extend(character.escape_default());
            } else {
                out.push(character);
            }
        }
    }
}

fn json(event: &Event<'_>, time: SystemTime) -> String {
    let metadata = event.metadata();
    let mut object = Object::new();
    object.string("timestamp", &rfc3339(time));
    object.string("level", metadata.level().as_str());
    object.string("target", metadata.target());
    event.record(&mut Members(&mut object));
    object.end()
}

/// What an event says, for programs: numbers and truth values as such, the rest as text.
struct Members<'a>(&'a mut Object);

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.string(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.string(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.raw(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.raw(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.raw(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.0.raw(field.name(), value);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Keeps what the last event would be written as.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<[String; 2]>>>);

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn event(&self, event: &Event<'_>) {
            let time = SystemTime::UNIX_EPOCH;
            let lines = [human(event, time, false), json(event, time)];
            self.0.lock().unwrap().push(lines);
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    /// What people would read of the last thing that is logged.
    pub(crate) fn written(what: impl FnOnce()) -> String {
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.clone(), what);
        let mut lines = kept.0.lock().unwrap();
        let [human, _] = lines.pop().expect("something was logged");
        human
    }

    #[test]
    fn an_event_is_a_line_whatever_is_in_it() {
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.clone(), || {
            tracing::info!(client_id = "a\nb\"", count = 3_u64, kept = true, reason = %"x\x1b[2J", why = %"not now", "gone\n");
        });
        let lines = kept.0.lock().unwrap();
        let [human, json] = &lines[0];
        assert_eq!(
            human,
            "1970-01-01T00:00:00.000Z  INFO gone\\n client_id=\"a\\nb\\\"\" count=3 kept=true \
             reason=x\\u{1b}[2J why=\"not now\""
        );
        assert!(json.starts_with(r#"{"timestamp":"1970-01-01T00:00:00.000Z","level":"INFO","#));
        for member in [
            r#""client_id":"a\nb\"""#,
            r#""count":3"#,
            r#""kept":true"#,
            r#""message":"gone\n""#,
        ] {
            assert!(json.contains(member), "{json}");
        }
        assert!(!human.contains('\n') && !json.contains('\n'));
    }
}
