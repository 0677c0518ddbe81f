//! The network: lines between clients and the broker, each two pipes that split, delay, stall and
//! break.

use super::chance::Chance;
use super::counts::Counts;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use whimbrel_core::ConnectionId;
use whimbrel_core::codec::packet::Version;

/// A piece that takes as long as this is delayed.
const LONG_MS: u64 = 20;

/// What is read at once, by either end: as much as a host does.
const READ_BYTES: usize = 64 << 10;

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weather {
    /// A piece takes 1 to so many milliseconds.
    pub(super) latency_ms: u64,
    /// How many of a hundred writes arrive in pieces.
    pub(super) split_percent: u64,
    /// What the sockets at both ends hold before the writer must wait.
    pub(super) socket_bytes: usize,
}

/// What travels through a pipe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The line opens.
    Open,
    Bytes(Vec<u8>),
    /// Nothing more comes.
    End,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pieces: VecDeque<(u64, Piece)>,
    /// When the last piece arrives: none overtakes it.
    last_at: u64,
    stalled_until: u64,
    held_bytes: usize,
    /// What is written from now on goes nowhere.
    is_ended: bool,
    /// Cuts of writes into pieces, and pieces that took long, not counted yet.
    splits: u64,
    delays: u64,
}

impl Pipe {
    fn push(&mut self, at: u64, piece: Piece) {
        if self.is_ended {
            return;
        }
        let at = at.max(self.last_at).max(self.stalled_until);
        self.last_at = at;
        if let Piece::Bytes(bytes) = &piece {
            self.held_bytes += bytes.len();
        }
        self.is_ended = piece == Piece::End;
        self.pieces.push_back((at, piece));
    }

    pub(super) fn write(&mut self, now: u64, bytes: &[u8], weather: Weather, chance: &mut Chance) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let cut = if chance.percent(weather.split_percent) {
                chance.between(1, rest.len() as u64) as usize
            } else {
                rest.len()
            };
            let (piece, later) = rest.split_at(cut);
            let latency_ms = chance.between(1, weather.latency_ms);
            self.splits += u64::from(!later.is_empty());
            self.delays += u64::from(latency_ms >= LONG_MS);
            let at = now + latency_ms;
            self.push(at, Piece::Bytes(piece.to_vec()));
            rest = later;
        }
    }

    /// All that was written arrives, and then the end.
    pub(super) fn end(&mut self, at: u64) {
        self.push(at, Piece::End);
    }

    /// Nothing that has not arrived does; the other side notices at `at`.
    pub(super) fn cut(&mut self, at: u64) {
        self.pieces.clear();
        self.held_bytes = 0;
        self.is_ended = false;
        self.push(at, Piece::End);
    }

    /// Nothing arrives before `until`.
    pub(super) fn stall(&mut self, until: u64) {
        self.stalled_until = self.stalled_until.max(until);
        for (at, _) in &mut self.pieces {
            *at = (*at).max(until);
        }
        self.last_at = self.last_at.max(until);
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.pieces.front().map(|(at, _)| *at)
    }

    /// Whether something has arrived.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.next_at().is_some_and(|at| at <= now)
    }

    /// What has arrived first, of bytes no more than are read at once.
    pub(super) fn pop(&mut self, now: u64) -> Option<Piece> {
        if !self.is_due(now) {
            return None;
        }
        let (at, mut piece) = self.pieces.pop_front()?;
        if let Piece::Bytes(bytes) = &mut piece {
            if bytes.len() > READ_BYTES {
                let later = bytes.split_off(READ_BYTES);
                self.pieces.push_front((at, Piece::Bytes(later)));
            }
            self.held_bytes -= bytes.len();
        }
        Some(piece)
    }

    /// Whether the writer's socket takes more.
    pub(super) const fn has_room(&self, weather: Weather) -> bool {
        self.is_ended || self.held_bytes < weather.socket_bytes
    }
}

/// Who is at the client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Player(usize),
    Hostile(usize),
}

/// A shard of the broker, and its name for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) shard: usize,
    pub(super) connection: ConnectionId,
}

/// A line from a client to the broker.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) owner: Owner,
    /// What the client speaks.
    pub(super) version: Version,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    /// Where it is in the broker, from its accept to its end there.
    pub(super) place: Option<Place>,
    /// Where it was when the broker closed it.
    pub(super) closed_at: Option<Place>,
    /// It is on its way from one shard to another.
    pub(super) is_moving: bool,
    /// The broker still had it when the last bytes arrived.
    pub(super) was_heard: bool,
    pub(super) is_cut: bool,
    /// The client still looks at it.
    pub(super) is_client_there: bool,
    /// The broker has asked not to read it.
    pub(super) is_paused: bool,
    /// The broker has something to send and the socket was full.
    pub(super) wants_to_send: bool,
}

impl Line {
    /// Whether the broker reads it, or it is not there to read it.
    pub(super) const fn is_read(&self) -> bool {
        !(self.is_moving || self.is_paused && self.place.is_some())
    }

    /// What the client sends gets lost from now on, and the broker notices in its own time.
    pub(super) fn cut_upwards(&mut self, broker_notices_at: u64) {
        self.is_cut = true;
        self.up.cut(broker_notices_at);
    }

    /// The line breaks without a word; each side notices in its own time.
    pub(super) fn cut(&mut self, client_notices_at: u64, broker_notices_at: u64) {
        self.is_cut = true;
        self.up.cut(broker_notices_at);
        self.down.cut(client_notices_at);
    }
}

/// All lines, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) lines: BTreeMap<u64, Line>,
    opened: u64,
}

impl Network {
    /// Opens a line, which the broker hears of at `at`.
    pub(super) fn open(&mut self, owner: Owner, version: Version, at: u64) -> u64 {
        self.opened += 1;
        let mut line = Line {
            owner,
            version,
            up: Pipe::default(),
            down: Pipe::default(),
            place: None,
            closed_at: None,
            is_moving: false,
            was_heard: false,
            is_cut: false,
            is_client_there: true,
            is_paused: false,
            wants_to_send: false,
        };
        line.up.push(at, Piece::Open);
        self.lines.insert(self.opened, line);
        self.opened
    }

    /// Counts what happened to what was written, and forgets lines that nobody looks at any more.
    pub(super) fn sweep(&mut self, counts: &mut Counts) {
        for line in self.lines.values_mut() {
            for pipe in [&mut line.up, &mut line.down] {
                counts.faults("write split", core::mem::take(&mut pipe.splits));
                counts.faults("piece delayed", core::mem::take(&mut pipe.delays));
            }
        }
        self.lines.retain(|_, line| {
            let is_there = line.place.is_some() || line.is_moving;
            line.is_client_there || is_there || line.up.next_at().is_some()
        });
    }

    /// Whether somebody has yet to hear what was said long ago, such as that the line has ended.
    pub(super) fn is_stalled(&self, now: u64) -> bool {
        self.lines.values().any(|line| {
            let is_awaited = line.is_client_there && line.down.next_at().is_some();
            is_awaited && line.down.stalled_until > now
        })
    }

    /// The players for whom something has arrived.
    pub(super) fn mail(&self, now: u64) -> BTreeSet<usize> {
        let lines = self.lines.values();
        let owners = lines.filter_map(|line| match line.owner {
            Owner::Player(index) if line.down.is_due(now) => Some(index),
            Owner::Player(_) | Owner::Hostile(_) => None,
        });
        owners.collect()
    }

    /// When something arrives next.
    pub(super) fn next_at(&self) -> Option<u64> {
        let lines = self.lines.values();
        let arrivals = lines.flat_map(|line| {
            let up = line.up.next_at().filter(|_| line.is_read());
            let down = line.down.next_at().filter(|_| line.is_client_there);
            [up, down]
        });
        arrivals.flatten().min()
    }
}
