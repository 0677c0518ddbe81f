//! Small messages on their way to another shard, packed one after the other.
//!
//! Shards that shared each small message would meet at it: one allocates, the other frees, and both
//! wait for the allocator's lock; whoever reads it waits for every one to come from the other's
//! processor. What lies side by side is fetched ahead, and a shard that has to keep a message makes
//! its own.
//!
//! ```text
//! 0        4                       8           16
//! | length | retain, has publisher | publisher | message, as in `message.rs` |
//! | u32    | u32                   | u64       | of this length              |
//! ```
//! All numbers little-endian.

use crate::codec::packet::QoS;
use crate::id::ConnectionId;
use crate::letter::PARCEL_BYTES;
use crate::message::MessageView;
use crate::recording::REDACTED;
use crate::state::{Reader, State, Writer};
use alloc::vec::Vec;
use core::fmt;

const HEADER: usize = 16;
const FLAG_RETAIN: u32 = 0b01;
const FLAG_PUBLISHER: u32 = 0b10;

/// Messages up to this length are packed: copying more costs more than to meet.
const MESSAGE_BYTES_MAXIMUM: usize = 4 << 10;

/// A bundle that has come to this length is full. It grows by doubling, so it should be small
/// beside what a turn brings, and large beside a message.
const FULL_BYTES: usize = 32 << 10;

/// Messages for everybody who subscribes to them, in the order in which they came in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    bytes: Vec<u8>,
    /// How many there are.
    count: usize,
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

impl Bundle {
    /// Adds a message; its topic has at most 65,535 bytes, its tenant 255.
    pub fn push(&mut self, bundled: &Bundled<'_>) {
        let view = &bundled.view;
        let length = u32::try_from(view.encoded_len()).unwrap_or(u32::MAX);
        let mut flags = 0;
        if bundled.retain {
            flags |= FLAG_RETAIN;
        }
        if bundled.publisher.is_some() {
            flags |= FLAG_PUBLISHER;
        }
        let publisher = bundled.publisher.map_or(0, ConnectionId::as_u64);
        let start = self.bytes.len();
        self.bytes.reserve(HEADER + view.encoded_len());
        self.bytes.extend_from_slice(&[0; HEADER]);
        // Field by field into its place: bytes written one by one are slow to copy at once.
        let header = &mut self.bytes[start..];
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4..8].copy_from_slice(&flags.to_le_bytes());
        header[8..].copy_from_slice(&publisher.to_le_bytes());
        view.write(&mut self.bytes);
        self.count(view);
    }

    fn count(&mut self, view: &MessageView<'_>) {
        self.count += 1;
        self.must_be_kept |= view.qos > QoS::AtMostOnce;
    }

    /// What it takes of the room between two shards: as much as if each message went alone, since
    /// that is what queues count in which they end.
    pub(crate) const fn cost_bytes(&self) -> u64 {
        (self.bytes.len() + self.count * (PARCEL_BYTES - HEADER)) as u64
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
        let mut rest = self.bytes.as_slice();
        core::iter::from_fn(move || {
            (!rest.is_empty()).then(|| {
                let (bundled, after) = take(rest).expect("checked when it was made");
                rest = after;
                bundled
            })
        })
    }
}

/// The first message, and what follows it.
#[inline]
fn take(bytes: &[u8]) -> Option<(Bundled<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let number = |at: usize| {
        let bytes = header[at..].first_chunk();
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let (message, rest) = rest.split_at_checked(number(0) as usize)?;
    let flags = number(4);
    let bundled = Bundled {
        view: MessageView::parse(message)?,
        retain: flags & FLAG_RETAIN != 0,
        publisher: (flags & FLAG_PUBLISHER != 0).then_some(ConnectionId {
            index: number(8),
            generation: number(12),
        }),
    };
    Some((bundled, rest))
}

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
            for Bundled { view, .. } in self.iter() {
                end += HEADER + view.encoded_len();
                to.out[end - view.payload.len()..end].fill(REDACTED);
            }
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let bytes = from.counted()?;
        let mut bundle = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (Bundled { view, .. }, after) = take(rest)?;
            bundle.count(&view);
            rest = after;
        }
        bundle.bytes = bytes.to_vec();
        Some(bundle)
    }
}
