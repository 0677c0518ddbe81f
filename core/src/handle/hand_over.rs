//! A connection whose session another shard has, or whose address another shard counts: it goes
//! there, with all that was not handled.

use crate::action::Action;
use crate::broker::Broker;
use crate::codec;
use crate::codec::frame::{self, Frame};
use crate::codec::packet::Packet;
use crate::connection::{Stage, Stalls};
use crate::id::PeerId;
use crate::slab::Key;
use crate::time::Timestamp;
use crate::timer::TimerKey;

impl Broker {
    /// Whether this is a CONNECT for a session that another shard has: then everything from there
    /// on goes to that shard, with the connection. What is wrong with a CONNECT is answered here.
    #[inline]
    pub(crate) fn must_go_elsewhere(&mut self, key: Key, frame: &Frame<'_>) -> bool {
        !self.peers.is_alone()
            && frame::is_connect(frame.first_byte)
            && self.goes_elsewhere(key, *frame)
    }

    /// Has it leave if it does.
    fn goes_elsewhere(&mut self, key: Key, frame: Frame<'_>) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let Some(version) = codec::connect_version(frame) else {
            return false;
        };
        let (Stage::Waiting, Ok(Packet::Connect(connect))) =
            (&connection.stage, codec::decode(version, frame))
        else {
            return false;
        };
        let owner = self.placement.of_client(connect.client_id);
        if connect.client_id.is_empty() || owner == self.config.identity.shard {
            return false;
        }
        self.leave(key, PeerId(owner));
        true
    }

    /// A connection goes to another shard, before anything more of it is handled.
    pub(crate) fn leave(&mut self, key: Key, to: PeerId) {
        self.stay_here(key);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.stalls.add(Stalls::LEAVING);
            self.leaving.push_back((key, to));
        }
    }

    /// A connection does not go where it was to go to.
    pub(crate) fn stay_here(&mut self, key: Key) {
        let connection = self.connections.get(key);
        if connection.is_some_and(|connection| connection.stalls.has(Stalls::LEAVING)) {
            self.leaving.retain(|(leaving, _)| *leaving != key);
            self.unstall(key, Stalls::LEAVING);
        }
    }

    /// The next connection that goes to another shard, with all that was not handled.
    pub(crate) fn poll_leaving(&mut self) -> Option<Action> {
        while let Some((key, to)) = self.leaving.pop_front() {
            let Some(mut connection) = self.connections.remove(key) else {
                continue;
            };
            self.timers.arm(
                TimerKey::Connection(key),
                &mut connection.armed,
                Timestamp::MAX,
            );
            self.statistics.connections_open -= 1;
            // By address it counts on, where it is counted, until it is closed.
            self.uncount(&connection);
            self.statistics.partial_bytes -= u64::from(connection.inbox_counted);
            self.footprints -= u64::from(connection.footprint);
            return Some(Action::HandOver {
                connection: connection.id(),
                to,
                peer: connection.peer(),
                bytes: connection.inbox,
            });
        }
        None
    }
}
