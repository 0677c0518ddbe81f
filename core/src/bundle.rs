//! Small messages on their way to another shard, packed one after the other.
//!
//! Shards that shared each small message would meet at it: one allocates, the other frees, and both
//! wait for the allocator's lock; whoever reads it waits for every one to come from the other's
//! processor. What lies side by side is fetched ahead, and a shard that has to keep a message makes
//! its own.
//!
//! A publisher mostly says the same topic many times in a row. What such a *run* of messages has in
//! common stands in front of it, once, as a message without payload whose sequence is 0; so who
//! reads it checks a topic and looks for its route once.
//!
//! ```text
//! 0                   4                       8           16
//! | bytes of messages | retain, has publisher | publisher | message, as in `message.rs` | messages |
//! | u32               | u32                   | u64       |                             |          |
//!
//! each: 0          8        12
//!       | sequence | length | payload        |
//!       | u64      | u32    | of this length |
//! ```
//! All numbers little-endian.

use crate::codec::packet::QoS;
use crate::id::ConnectionId;
use crate::letter::PARCEL_BYTES;
use crate::message::{self, MessageView};
use crate::recording::REDACTED;
use crate::state::{Reader, State, Writer};
use crate::time::UnixTime;
use alloc::vec::Vec;
use core::fmt;

const HEADER: usize = 16;
/// What is in front of each payload.
const ENTRY: usize = 12;
const FLAG_RETAIN: u32 = 0b01;
const FLAG_PUBLISHER: u32 = 0b10;

/// Messages up to this length are packed: copying more costs more than to meet.
const MESSAGE_BYTES_MAXIMUM: usize = 4 << 10;

/// A bundle that has come to this length is full. It grows by doubling, so it should be small
/// beside what a turn brings, and large beside a message.
const FULL_BYTES: usize = 32 << 10;

/// Messages for everybody who subscribes to them, in the order in which they came in.
#[derive(Clone, Default)]
pub struct Bundle {
    bytes: Vec<u8>,
    /// The run that the next message may continue, if it was begun here.
    last: Option<LastRun>,
    cost_bytes: u64,
    /// One of them, at least, has a QoS above 0.
    must_be_kept: bool,
}

/// One message of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundled<'a> {
    /// The message.
    pub view: MessageView<'a>,
    /// The publisher set RETAIN.
    pub retain: bool,
    /// The connection of the writer that it came by, if one can be asked to wait.
    pub publisher: Option<ConnectionId>,
}

/// Whether a message is small enough to be packed.
pub(crate) const fn is_small(view: &MessageView<'_>) -> bool {
    view.encoded_len() <= MESSAGE_BYTES_MAXIMUM
}

/// The last run of a bundle.
#[derive(Clone, Copy)]
struct LastRun {
    /// Where it begins.
    at: usize,
    /// Where its messages do.
    messages_at: usize,
    head: Head,
}

/// What messages of a run have in common, but for texts. Kept beside the bytes, to be compared
/// field by field: a wide load of what narrow stores have just written waits for all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    publisher: Option<ConnectionId>,
    origin: u64,
    expires_at: UnixTime,
    qos: QoS,
    retain: bool,
    text_lengths: [usize; 3],
}

impl Head {
    #[inline]
    fn of(bundled: &Bundled<'_>) -> Self {
        let Bundled {
            view,
            retain,
            publisher,
        } = *bundled;
        Self {
            publisher,
            origin: view.id.origin,
            expires_at: view.expires_at,
            qos: view.qos,
            retain,
            text_lengths: texts(&view).map(<[u8]>::len),
        }
    }
}

impl Bundle {
    /// Adds a message of at most 4 KiB in all; its tenant has at most 255 bytes.
    pub fn push(&mut self, bundled: &Bundled<'_>) {
        let view = &bundled.view;
        self.bytes.reserve(HEADER + ENTRY + view.encoded_len());
        let head = Head::of(bundled);
        let run = match self.last {
            Some(last) if last.head == head && self.has_texts_of(last, view) => last,
            _ => self.begin(bundled, head),
        };
        let length = u32::try_from(view.payload.len()).unwrap_or(u32::MAX);
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&view.id.sequence.to_le_bytes());
        entry[8..].copy_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&entry);
        self.bytes.extend_from_slice(view.payload);
        let messages = u32::try_from(self.bytes.len() - run.messages_at).unwrap_or(u32::MAX);
        self.bytes[run.at..][..4].copy_from_slice(&messages.to_le_bytes());
        self.count(view);
    }

    /// Whether a run with the same head says the same topic, and so on.
    #[inline]
    fn has_texts_of(&self, run: LastRun, view: &MessageView<'_>) -> bool {
        let mut rest = &self.bytes[run.at + HEADER + message::HEADER..];
        // The head says how long they are.
        texts(view).into_iter().all(|text| {
            let (same, behind) = rest.split_at(text.len());
            rest = behind;
            // An empty slice may point nowhere, and `memcmp` of nothing there takes as long as an
            // access that fails.
            text.is_empty() || same == text
        })
    }

    /// Begins a run with what it is to have in common with this message.
    fn begin(&mut self, bundled: &Bundled<'_>, head: Head) -> LastRun {
        let mut flags = 0;
        if bundled.retain {
            flags |= FLAG_RETAIN;
        }
        if bundled.publisher.is_some() {
            flags |= FLAG_PUBLISHER;
        }
        let publisher = bundled.publisher.map_or(0, ConnectionId::as_u64);
        let mut common = bundled.view;
        common.id.sequence = 0;
        common.payload = &[];
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&u32::to_le_bytes(flags));
        self.bytes.extend_from_slice(&publisher.to_le_bytes());
        common.write(&mut self.bytes);
        let messages_at = self.bytes.len();
        *self.last.insert(LastRun {
            at,
            messages_at,
            head,
        })
    }

    fn count(&mut self, view: &MessageView<'_>) {
        self.cost_bytes += (view.encoded_len() + PARCEL_BYTES) as u64;
        self.must_be_kept |= view.qos > QoS::AtMostOnce;
    }

    /// What it takes of the room between two shards: as much as if each message went alone, since
    /// that is what queues count in which they end.
    pub(crate) const fn cost_bytes(&self) -> u64 {
        self.cost_bytes
    }

    /// Whether somebody waits until the receiver has kept what is in it.
    pub(crate) const fn must_be_kept(&self) -> bool {
        self.must_be_kept
    }

    /// Whether the next message should go into another one.
    pub(crate) const fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES
    }

    /// The messages, in order.
    pub fn iter(&self) -> impl Iterator<Item = Bundled<'_>> {
        self.runs().flat_map(|run| {
            let Bundled {
                retain, publisher, ..
            } = run.common;
            run.views().map(move |view| Bundled {
                view,
                retain,
                publisher,
            })
        })
    }

    /// The same by what they have in common.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let mut rest = self.bytes.as_slice();
        core::iter::from_fn(move || {
            (!rest.is_empty()).then(|| {
                let (run, after) = Run::take(rest).expect("checked when it was made");
                rest = after;
                run
            })
        })
    }
}

/// Messages in a row that differ only in sequence and payload.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    /// All else, without payload.
    pub(crate) common: Bundled<'a>,
    messages: &'a [u8],
}

impl<'a> Run<'a> {
    /// The first run, and what follows it.
    fn take(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let mut view = MessageView::parse(rest)?;
        let (messages, after) = view.payload.split_at_checked(u32_at(header, 0) as usize)?;
        view.payload = &[];
        let flags = u32_at(header, 4);
        let common = Bundled {
            view,
            retain: flags & FLAG_RETAIN != 0,
            publisher: (flags & FLAG_PUBLISHER != 0).then_some(ConnectionId {
                index: u32_at(header, 8),
                generation: u32_at(header, 12),
            }),
        };
        Some((Self { common, messages }, after))
    }

    /// The messages, in order.
    pub(crate) fn views(self) -> impl Iterator<Item = MessageView<'a>> {
        let mut rest = self.messages;
        core::iter::from_fn(move || {
            (!rest.is_empty()).then(|| {
                let (view, after) = self.view(rest).expect("checked when it was made");
                rest = after;
                view
            })
        })
    }

    /// The first of these messages, and what follows it.
    #[inline]
    fn view(&self, bytes: &'a [u8]) -> Option<(MessageView<'a>, &'a [u8])> {
        let (entry, rest) = bytes.split_first_chunk::<ENTRY>()?;
        let (payload, after) = rest.split_at_checked(u32_at(entry, 8) as usize)?;
        let mut view = self.common.view;
        view.id.sequence = u64::from(u32_at(entry, 4)) << 32 | u64::from(u32_at(entry, 0));
        view.payload = payload;
        Some((view, after))
    }
}

/// What is as long as it likes, of what the messages of a run have in common.
const fn texts<'a>(view: &MessageView<'a>) -> [&'a [u8]; 3] {
    [
        view.tenant.as_bytes(),
        view.topic.as_bytes(),
        view.properties,
    ]
}

#[inline]
fn u32_at(header: &[u8], at: usize) -> u32 {
    let bytes = header[at..].first_chunk();
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Bundle {}

/// Without what was published.
impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for Bundled {
            view,
            retain,
            publisher,
        } in self.iter()
        {
            let (id, length) = (view.id, view.payload.len());
            list.entry(&format_args!(
                "{id:?} {} {length} bytes {:?} {retain} {publisher:?}",
                view.topic, view.qos
            ));
        }
        list.finish()
    }
}

impl State for Bundle {
    fn save(&self, to: &mut Writer<'_>) {
        to.bytes(&self.bytes);
        if to.without_payloads {
            let mut end = to.out.len() - self.bytes.len();
            for run in self.runs() {
                end += HEADER + run.common.view.encoded_len();
                for view in run.views() {
                    end += ENTRY + view.payload.len();
                    to.out[end - view.payload.len()..end].fill(REDACTED);
                }
            }
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let bytes = from.counted()?;
        let mut bundle = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (run, after) = Run::take(rest)?;
            let mut messages = run.messages;
            while !messages.is_empty() {
                let (view, after) = run.view(messages)?;
                // Else a few bytes could stand for as many large messages.
                if !is_small(&view) {
                    return None;
                }
                bundle.count(&view);
                messages = after;
            }
            rest = after;
        }
        bundle.bytes = bytes.to_vec();
        Some(bundle)
    }
}
