//! `whimbrel log dump`: prints the records of a log.

use super::census::Census;
use super::{Failure, read};
use argh::{ArgsInfo, FromArgs};
use std::io::{BufWriter, Write};
use whimbrel_core::id::MessageId;
use whimbrel_core::inspect::{Record, SessionView};
use whimbrel_core::log::{BatchRef, LogEnd, Marker, Op, Recovered};
use whimbrel_core::message::MessageView;
use whimbrel_core::time::UnixTime;

/// Print every record, a line each: number of the batch, kind, whose, topic, sizes. Changes
/// nothing.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "dump",
    help_triggers("-h", "--help", "help"),
    note = "What was read before damage is found is printed in any case.",
    error_code(0, "it is whole"),
    error_code(1, "it cannot be read: no such directory, in use by a broker, ..."),
    error_code(3, "it is damaged; the message says where")
)]
pub(crate) struct Dump {
    /// also print payloads; what is not printable is escaped
    #[argh(switch)]
    payload: bool,
    /// the directory
    #[argh(positional)]
    directory: String,
}

impl Dump {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let mut census = Census::default();
        let result = read(&self.directory, |batch| {
            // Sessions are called by what is known of them up to here.
            census.count(batch);
            // Whoever closed the pipe has read enough.
            let _ = self.print(&mut out, &census, batch);
        });
        let _ = out.flush();
        match result?.end {
            LogEnd::New => Err(Failure::no_log(self.directory)),
            LogEnd::Clean | LogEnd::Unclean | LogEnd::Torn { .. } => Ok(()),
        }
    }

    fn print(
        &self,
        out: &mut impl Write,
        census: &Census,
        recovered: &Recovered<'_>,
    ) -> std::io::Result<()> {
        let Recovered { lsn, batch } = recovered;
        match batch.marker {
            Marker::CheckpointBegin => writeln!(out, "{lsn} checkpoint begins")?,
            Marker::CheckpointEnd => writeln!(out, "{lsn} checkpoint ends")?,
            Marker::None => {}
        }
        for op in BatchRef::new(batch.ops) {
            let Ok(op) = op else {
                return writeln!(out, "{lsn} unreadable");
            };
            let bytes = match op {
                Op::Put { key, value } => key.len() + value.len(),
                Op::Delete { key } => key.len(),
            };
            let line = match Record::parse(op) {
                Some(record) => describe(&record, census),
                None => format!("unreadable, {bytes} bytes"),
            };
            write!(out, "{lsn} {line}")?;
            if let (true, Some(Record::Message(view))) = (self.payload, Record::parse(op)) {
                write!(out, " payload \"{}\"", view.payload.escape_ascii())?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// A tenant as a field, unless it is the default one.
fn of_tenant(name: &str) -> String {
    match name {
        "" => String::new(),
        name => format!(" tenant={name:?}"),
    }
}

fn exchange(verb: &str, session: u64, packet: u16, census: &Census) -> String {
    format!("{verb} client={} packet={packet}", census.name(session))
}

fn describe(record: &Record<'_>, census: &Census) -> String {
    match record {
        Record::Boot { epoch } => format!("start number {epoch}"),
        Record::Heeded { gap: (first, last) } => {
            format!("sessions before the gap from {first} to {last} have ended")
        }
        Record::Clock { broker, machine } => {
            format!("clock broker={} machine={}", broker.0, machine.0)
        }
        Record::Session(view) => session(view),
        Record::SessionEnded { session } => format!("session ended number={session}"),
        Record::Subscribed {
            session,
            filter,
            qos,
        } => {
            let (client, qos) = (census.name(*session), *qos as u8);
            format!("subscribed client={client} filter={filter:?} qos={qos}")
        }
        Record::Unsubscribed { session, filter } => {
            let client = census.name(*session);
            format!("unsubscribed client={client} filter={filter:?}")
        }
        Record::Message(view) => message(view),
        Record::MessageGone { id } => format!("message gone {}", name(*id)),
        Record::Delivery {
            session,
            sequence,
            message,
            packet,
        } => {
            let client = census.name(*session);
            let message = message.map_or_else(|| "acknowledged by PUBREC".to_owned(), name);
            let packet = packet.map_or_else(|| "queued".to_owned(), |id| format!("sent as {id}"));
            format!("delivery client={client} sequence={sequence} {packet}, {message}")
        }
        Record::Delivered { session, sequence } => {
            let client = census.name(*session);
            format!("delivered client={client} sequence={sequence}")
        }
        Record::Received { session, packet } => exchange("received", *session, *packet, census),
        Record::Completed { session, packet } => exchange("completed", *session, *packet, census),
        Record::Taken {
            session,
            packet,
            shard,
        } => {
            let client = census.name(*session);
            format!("taken client={client} packet={packet} shard={shard}")
        }
        Record::TakenForgotten {
            session,
            packet,
            shard,
        } => {
            let client = census.name(*session);
            format!("taken-forgotten client={client} packet={packet} shard={shard}")
        }
        Record::Tenant { name } => format!("tenant {name:?}"),
        Record::Retained {
            tenant,
            topic,
            message,
        } => {
            let tenant = of_tenant(tenant);
            format!("retained topic={topic:?}{tenant} {}", name(*message))
        }
        Record::RetainedCleared { tenant, topic } => {
            format!("retained cleared topic={topic:?}{}", of_tenant(tenant))
        }
        Record::Owed {
            session,
            filter,
            after,
        } => {
            let client = census.name(*session);
            let after = after
                .as_ref()
                .map_or_else(String::new, |topic| format!(" after topic={topic:?}"));
            format!("owed client={client} filter={filter:?} retained messages{after}")
        }
        Record::Settled { session, filter } => {
            let client = census.name(*session);
            format!("owed client={client} filter={filter:?} no retained messages")
        }
        Record::Refused {
            session,
            packet,
            stays,
        } => {
            let verb = ["may come again", "refused"][usize::from(*stays)];
            exchange(verb, *session, *packet, census)
        }
        Record::Moved { session, sequence } => {
            let client = census.name(*session);
            format!("delivery client={client} sequence={sequence} moved to another session")
        }
        Record::Unknown { kind } => format!("record of unknown kind {kind:#04x}"),
    }
}

fn session(view: &SessionView) -> String {
    let connected = if view.is_connected {
        "connected"
    } else {
        "away"
    };
    let will = view.will_topic.as_ref();
    let will = will.map_or_else(String::new, |topic| format!(" will={topic:?}"));
    let user = view.user.as_ref();
    let user = user.map_or_else(String::new, |user| format!(" user={user:?}"));
    let tenant = of_tenant(view.tenant.as_deref().unwrap_or_default());
    format!(
        "session client={:?}{tenant}{user} number={} expiry={}s {connected}{will}",
        view.client_id, view.session, view.expiry_s
    )
}

fn message(view: &MessageView<'_>) -> String {
    let expiry = match view.expires_at {
        UnixTime::MAX => String::new(),
        at => format!(" expires={}", at.0),
    };
    format!(
        "{} topic={:?}{} qos={} properties={} bytes payload={} bytes{expiry}",
        name(view.id),
        view.topic,
        of_tenant(view.tenant),
        view.qos as u8,
        view.properties.len(),
        view.payload.len()
    )
}

fn name(id: MessageId) -> String {
    format!("message {:x}.{}", id.origin, id.sequence)
}
