//! One step of a recording as a line: when, whose, and what.

use super::packet;
use crate::message_format::rfc3339;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::UNIX_EPOCH;
use whimbrel_core::action::{Action, Event, Verdict};
use whimbrel_core::codec::frame;
use whimbrel_core::codec::packet::Version;
use whimbrel_core::explain::Explanation;
use whimbrel_core::id::{MessageId, PeerId};
use whimbrel_core::letter::{Letter, Parcel};
use whimbrel_core::recording::{Input, Replay, Step};
use whimbrel_core::tenant::Counts;
use whimbrel_core::time::UnixTime;
use whimbrel_core::{CloseReason, ConnectionId};

/// What comes behind names is aligned if they are no longer.
const NAME_CHARS: usize = 24;

/// How many of these bytes are whole packets.
fn whole_packets(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(length) = frame::needed(&bytes[whole..])
        && whole + length <= bytes.len()
    {
        whole += length;
    }
    whole
}

/// Tells what happens.
pub(super) struct Teller<'a> {
    shard: u16,
    /// What is to be added to the broker's clock, wrapping, so that it is the time since the
    /// beginning.
    offset_ms: u64,
    /// Only of this client.
    client: Option<&'a str>,
    lines: BTreeMap<ConnectionId, Line>,
}

/// A connection, as far as it is known from what was told.
#[derive(Debug, Default)]
struct Line {
    client: Option<String>,
    version: Option<Version>,
    /// What came of a packet that is not whole.
    partial: Vec<u8>,
}

impl<'a> Teller<'a> {
    pub(super) const fn new(shard: u16, client: Option<&'a str>) -> Self {
        Self {
            shard,
            offset_ms: 0,
            client,
            lines: BTreeMap::new(),
        }
    }

    /// From now on this is to be added to the broker's clock.
    pub(super) const fn set_offset(&mut self, offset_ms: u64) {
        self.offset_ms = offset_ms;
    }

    /// Takes note of the beginnings of packets that came before the part begins.
    pub(super) fn begin(&mut self, player: &Replay) {
        for (connection, bytes) in player.broker().half_received() {
            let line = self.lines.entry(connection).or_default();
            line.partial = bytes[whole_packets(bytes)..].to_vec();
        }
    }

    pub(super) fn tell(
        &mut self,
        player: &Replay,
        step: &Step,
        out: &mut impl Write,
    ) -> io::Result<()> {
        match step {
            Step::Time(_) => Ok(()),
            Step::Sent(connection, bytes) => {
                self.learn(player, *connection);
                self.packets(player, *connection, ("<-", bytes), out)
            }
            Step::Input(input, accepted) => self.input(player, input, *accepted, out),
            Step::Action(action) => self.action(player, action, out),
        }
    }

    /// Tells what became of a message.
    pub(super) fn explain(
        &self,
        player: &Replay,
        explanation: &Explanation,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Explanation {
            message,
            topic,
            outcome,
        } = explanation;
        let name = message.map_or_else(String::new, name_of);
        self.print(player, &name, &format!("{topic}: {outcome}"), out)
    }

    fn input(
        &mut self,
        player: &Replay,
        input: &Input,
        accepted: Option<ConnectionId>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let of = |connection: &ConnectionId| Some(*connection);
        let (connection, text) = match input {
            Input::Accept(peer) => {
                let from = peer.address.map_or_else(
                    || "inside the program".to_owned(),
                    |address| address.to_string(),
                );
                (accepted, format!("connects from {from}"))
            }
            Input::Introduce(connection, peer) => {
                let from = peer.address.map(|address| format!(" from {address}"));
                let name = peer.certificate.as_ref().and_then(|c| c.common_name());
                let name = name.map(|name| format!(" with a certificate of {name:?}"));
                let text = from.unwrap_or_default() + &name.unwrap_or_default();
                (of(connection), format!("comes{text}, says its transport"))
            }
            Input::Receive(connection, bytes) => {
                self.learn(player, *connection);
                return self.receive(player, *connection, bytes, out);
            }
            Input::Blocked(connection, bytes) => {
                let text = format!("its transport has not taken {bytes} bytes");
                (of(connection), text)
            }
            Input::Closed(connection) => (of(connection), "its transport is gone".to_owned()),
            // The time says it all.
            Input::Advance => return Ok(()),
            Input::Authenticated(connection, verdict) => (of(connection), words(verdict)),
            Input::Persisted(position) => (None, format!("durable up to batch {}", position.0)),
            Input::Loaded(message, whole) => {
                let what = match whole {
                    Some(whole) => whole.topic_str(),
                    None => "nothing that can be used",
                };
                let name = name_of(*message);
                (None, format!("read back: {name}, {what}"))
            }
            Input::StoragePressure(is_full) => match is_full {
                true => (None, "the disk is nearly full".to_owned()),
                false => (None, "the disk has room".to_owned()),
            },
            Input::PersistFailed => (None, "the log has failed".to_owned()),
            Input::Checkpoint => (None, "a checkpoint begins".to_owned()),
            Input::Routed(from, letter) => {
                return self.letter(player, ("from", *from), letter, out);
            }
            Input::Adopt(..) => (accepted, "comes from another shard".to_owned()),
            Input::Disconnect(connection, why) => {
                (of(connection), format!("is to be disconnected: {why}"))
            }
            Input::SetRules(rules) => match rules {
                Some(rules) => (None, format!("{} access rules in force", rules.len())),
                None => (None, "no access rules in force".to_owned()),
            },
            Input::SetShadowRules(rules) => match rules {
                Some(rules) => (None, format!("{} access rules are tried", rules.len())),
                None => (None, "no access rules are tried".to_owned()),
            },
            Input::SetBans(_) => (None, "other bans in force".to_owned()),
            Input::ShutDown => (None, "the broker is to stop".to_owned()),
        };
        self.line(player, connection, &text, out)
    }

    fn action(&mut self, player: &Replay, action: &Action, out: &mut impl Write) -> io::Result<()> {
        let (connection, text) = match action {
            Action::Send(_) => return Ok(()),
            Action::Pause(connection) => (Some(*connection), "is not read any further".to_owned()),
            Action::Resume(connection) => (Some(*connection), "is read again".to_owned()),
            Action::Close {
                connection,
                last_bytes,
            } => {
                self.packets(player, *connection, ("<-", last_bytes), out)?;
                self.line(player, Some(*connection), "is closed", out)?;
                self.lines.remove(connection);
                return Ok(());
            }
            Action::Authenticate {
                connection,
                credentials,
            } => {
                let line = self.lines.entry(*connection).or_default();
                line.client = Some(credentials.client_id.clone());
                line.version = Some(credentials.version);
                let text = match &credentials.username {
                    Some(username) => format!("may {username:?} connect?"),
                    None => "may it connect?".to_owned(),
                };
                (Some(*connection), text)
            }
            Action::Persist(batch) => {
                let (position, bytes) = (batch.position.0, batch.operations.len());
                (None, format!("to the log: batch {position}, {bytes} bytes"))
            }
            Action::Load(message) => (None, format!("to be read: {}", name_of(*message))),
            Action::Route { to, letter } => return self.letter(player, ("to", *to), letter, out),
            Action::HandOver { connection, to, .. } => {
                self.line(
                    player,
                    Some(*connection),
                    &format!("goes to shard {}", to.0),
                    out,
                )?;
                self.lines.remove(connection);
                return Ok(());
            }
            Action::Event(event) => return self.event(player, event, out),
        };
        self.line(player, connection, &text, out)
    }

    /// What shards tell each other: a line for each thing.
    fn letter(
        &self,
        player: &Replay,
        (direction, shard): (&str, PeerId),
        letter: &Letter,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut say = |what: &str| {
            let text = format!("{direction} shard {}: {what}", shard.0);
            self.line(player, None, &text, out)
        };
        for parcel in &letter.parcels {
            let what = match parcel {
                Parcel::Bundle(bundle) => {
                    for bundled in bundle.iter() {
                        say(&format!("a message to {}", bundled.view.topic))?;
                    }
                    continue;
                }
                Parcel::Interest(interest) => {
                    format!("{} of {}", interest.members, interest.filter)
                }
                Parcel::Message(routed) => {
                    format!("a message to {}", routed.message.topic_str())
                }
                Parcel::Shared(shared) => format!("a message for {}", shared.group),
                Parcel::Returned(shared) => format!("back: a message for {}", shared.group),
                Parcel::Completed(exchange) => {
                    let (session, packet) = (exchange.session, exchange.packet_id.get());
                    format!("packet {packet} of session {session} is complete")
                }
                Parcel::Counts(counts) => {
                    let Counts {
                        connections,
                        sessions,
                        subscriptions,
                    } = counts.counts;
                    format!(
                        "{} has {connections} connections, {sessions} sessions, {subscriptions} \
                         subscriptions",
                        counts.tenant
                    )
                }
                Parcel::User(count) => {
                    format!("{} has {} connections", count.user, count.connections)
                }
                Parcel::Gone(address) => format!("a connection from {address} is gone"),
                Parcel::Hold(publisher) => format!("{publisher} should wait for a subscriber"),
                Parcel::Release(publisher) => format!("{publisher} need not wait any longer"),
            };
            say(&what)?;
        }
        Ok(())
    }

    fn event(&self, player: &Replay, event: &Event, out: &mut impl Write) -> io::Result<()> {
        let closed = |why: &CloseReason| format!("ends: {why}");
        let (client, text) = match event {
            Event::Connected {
                client_id,
                session_present,
                ..
            } => {
                let session = if *session_present { "its" } else { "a new" };
                (client_id, format!("is connected, with {session} session"))
            }
            Event::Refused { client_id, why, .. } => (client_id, closed(why)),
            Event::Disconnected { client_id, why, .. } => (client_id, closed(why)),
            Event::SessionEnded { client_id, .. } => (client_id, "its session ends".to_owned()),
            Event::Subscribed {
                client_id,
                filter,
                reason,
                ..
            } => (client_id, format!("subscribes to {filter}: {reason}")),
            Event::Unsubscribed {
                client_id, filter, ..
            } => (client_id, format!("unsubscribes from {filter}")),
            Event::Dropped {
                client_id,
                why,
                count,
                ..
            } => (
                client_id,
                format!("does not get a message: {why}; {count} so far"),
            ),
            Event::Denied {
                client_id,
                operation,
                topic,
                ..
            } => (client_id, format!("may not {operation} {topic}")),
            Event::PublishRefused {
                client_id,
                topic,
                why,
                was_delivered,
                ..
            } => {
                let what = match was_delivered {
                    true => "is not retained",
                    false => "is refused",
                };
                (client_id, format!("a message to {topic} {what}: {why}"))
            }
            Event::EventsLost { .. } | _ => return Ok(()),
        };
        if self.client.is_none_or(|wanted| *wanted == **client) {
            self.print(player, client, &text, out)?;
        }
        Ok(())
    }

    /// Takes note of who somebody is that was there before.
    fn learn(&mut self, player: &Replay, connection: ConnectionId) {
        let line = self.lines.entry(connection).or_default();
        if line.client.is_none()
            && let Some((client, version)) = player.broker().client(connection)
        {
            line.client = Some(client.to_owned());
            line.version = Some(version);
        }
    }

    /// Bytes came: tells of the packets that are whole with them.
    fn receive(
        &mut self,
        player: &Replay,
        connection: ConnectionId,
        bytes: &[u8],
        out: &mut impl Write,
    ) -> io::Result<()> {
        let line = self.lines.entry(connection).or_default();
        let mut all = core::mem::take(&mut line.partial);
        all.extend_from_slice(bytes);
        let rest = all.split_off(whole_packets(&all));
        self.packets(player, connection, ("->", &all), out)?;
        if let Some(line) = self.lines.get_mut(&connection) {
            line.partial = rest;
        }
        Ok(())
    }

    fn packets(
        &mut self,
        player: &Replay,
        connection: ConnectionId,
        (arrow, bytes): (&str, &[u8]),
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = frame::needed(rest).unwrap_or(rest.len()).min(rest.len());
            let (packet, later) = rest.split_at(length);
            let line = self.lines.entry(connection).or_default();
            // Who is known is not somebody else because of a second CONNECT, which is refused.
            if line.client.is_none()
                && let Some((client, version)) = packet::newcomer(packet)
            {
                line.client = Some(client);
                line.version = Some(version);
            }
            let text = packet::describe(packet, line.version);
            self.line(player, Some(connection), &format!("{arrow} {text}"), out)?;
            rest = later;
        }
        Ok(())
    }

    fn line(
        &self,
        player: &Replay,
        connection: Option<ConnectionId>,
        text: &str,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Some(connection) = connection else {
            return match self.client {
                Some(_) => Ok(()),
                None => self.print(player, "", text, out),
            };
        };
        let client = self
            .lines
            .get(&connection)
            .and_then(|line| line.client.as_deref());
        if self.client.is_some_and(|wanted| client != Some(wanted)) {
            return Ok(());
        }
        let name = match client {
            Some(client) => client.to_owned(),
            None => format!("{connection:?}"),
        };
        self.print(player, &name, text, out)
    }

    fn print(
        &self,
        player: &Replay,
        name: &str,
        text: &str,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let at = player.now().monotonic.0.wrapping_add(self.offset_ms);
        let (time, shard, step) = (seconds(at), self.shard, player.step_count());
        let (name, text) = (plain(name), plain(text));
        writeln!(
            out,
            "{time:>11} {shard}:{step:<6} {name:<NAME_CHARS$} {text}"
        )
    }
}

/// Milliseconds, as `--until` takes them.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1_000, ms % 1_000)
}

/// What clients have said, so that it stays in its line and moves no cursor.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' | '"' | '\'' => plain.push(char),
            _ => plain.extend(char.escape_debug()),
        }
    }
    plain
}

/// What a message is called: see [`number_of`].
fn name_of(message: MessageId) -> String {
    format!("message {}", number_of(message))
}

/// What no other message has: the shard that took it in, and which one it was there. Before that
/// the boot in which it was, where the broker keeps something.
pub(super) fn number_of(message: MessageId) -> String {
    let MessageId { origin, sequence } = message;
    let shard = origin >> 32 & 0xFFFF;
    match origin as u32 {
        0 => format!("{shard}.{sequence}"),
        boot => format!("{boot}:{shard}.{sequence}"),
    }
}

/// Whether a text is such a number.
pub(super) fn is_number(text: &str) -> bool {
    let (boot, number) = text.split_once(':').unwrap_or(("0", text));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = number.split_once('.');
    digits(boot) && parts.is_some_and(|(shard, sequence)| digits(shard) && digits(sequence))
}

fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept(grant) => {
            let mut text = "the verdict: it may".to_owned();
            if let Some(user) = &grant.user {
                text.push_str(&format!(", as {user:?}"));
            }
            if let Some(tenant) = &grant.tenant {
                text.push_str(&format!(", of the tenant {tenant:?}"));
            }
            if !grant.groups.is_empty() {
                text.push_str(&format!(", in the groups {}", grant.groups.join(", ")));
            }
            if let Some(end) = grant.ends_at {
                text.push_str(&format!(", until {}", wall(end)));
            }
            if !grant.rules.is_empty() {
                text.push_str(&format!(", with {} rules of its own", grant.rules.len()));
            }
            if let Some(data) = &grant.data {
                text.push_str(&format!(", with {} bytes of data", data.len()));
            }
            text
        }
        Verdict::Continue { data, .. } => {
            format!(
                "the verdict: it is to go on, with {} bytes of data",
                data.len()
            )
        }
        Verdict::Refuse(reason) => format!("the verdict: it may not: {reason}"),
    }
}

/// What the wall clock said.
pub(super) fn wall(time: UnixTime) -> String {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(time.0))
        .map_or_else(|| "never".to_owned(), rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;
    use whimbrel_core::Grant;
    use whimbrel_core::codec::ReasonCode;

    #[test]
    fn what_clients_say_stays_in_its_line() {
        for (said, shown) in [
            ("größe/日本", "größe/日本"),
            ("a \"b\" \\x1b", "a \"b\" \\x1b"),
            ("x/\x1b[31m\n 9.9 admin", "x/\\u{1b}[31m\\n 9.9 admin"),
            ("\r\u{202e}\u{2028}\u{9b}", "\\r\\u{202e}\\u{2028}\\u{9b}"),
        ] {
            assert_eq!(plain(said), shown);
        }
    }

    #[test]
    fn verdicts_are_told_in_words() {
        let grant = Grant {
            groups: vec!["a".to_owned(), "b".to_owned()],
            data: Some(vec![1, 2]),
            ends_at: Some(UnixTime(1_500)),
            ..Grant::to("x")
        };
        let told = words(&Verdict::Accept(grant));
        let expected = "the verdict: it may, as \"x\", in the groups a, b, \
                        until 1970-01-01T00:00:01.500Z, with 2 bytes of data";
        assert_eq!(told, expected);
        let (data, state) = (vec![1; 3], vec![7; 9]);
        let told = words(&Verdict::Continue { data, state });
        assert_eq!(told, "the verdict: it is to go on, with 3 bytes of data");
        assert!(words(&Verdict::Refuse(ReasonCode::BANNED)).contains("it may not"));
    }
}
