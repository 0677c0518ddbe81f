//! What a shard calls of its broker.

use core::ops::Deref;
use std::sync::Arc;
use whimbrel_core::access::ban::Bans;
use whimbrel_core::access::rules::Rules;
use whimbrel_core::id::{MessageId, PeerId, Position};
use whimbrel_core::letter::Letter;
use whimbrel_core::recording::RecordedBroker;
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{Action, Broker, CloseReason, ConnectionId, Now, Peer, Verdict};

/// Declares the trait, and that both kinds of broker do what [`Broker`] says.
macro_rules! inputs {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        /// A [`Broker`], as it is or with what goes into it written down: everything that changes
        /// one. What only looks at it goes through [`Deref`].
        pub trait Inputs: Deref<Target = Broker> {
            $(
                #[doc = concat!("See [`Broker::", stringify!($name), "`].")]
                fn $name(&mut self, $($argument: $type),*) $(-> $result)?;
            )*

            /// See [`Broker::statistics`]; with what the recording has to say.
            fn all_statistics(&self) -> Statistics;
        }

        /// In a place of its own, as a stack that it passes through stays resident.
        impl Inputs for Box<Broker> {
            $(
                #[inline]
                fn $name(&mut self, $($argument: $type),*) $(-> $result)? {
                    Broker::$name(self, $($argument),*)
                }
            )*

            fn all_statistics(&self) -> Statistics {
                self.statistics()
            }
        }

        impl Inputs for RecordedBroker {
            $(
                #[inline]
                fn $name(&mut self, $($argument: $type),*) $(-> $result)? {
                    Self::$name(self, $($argument),*)
                }
            )*

            fn all_statistics(&self) -> Statistics {
                self.statistics()
            }
        }
    };
}

inputs! {
    accept(now: Now, peer: Peer) -> ConnectionId;
    introduce(now: Now, connection: ConnectionId, peer: Peer);
    receive(now: Now, connection: ConnectionId, bytes: &[u8]);
    blocked(now: Now, connection: ConnectionId, bytes: usize);
    closed(now: Now, connection: ConnectionId);
    advance(now: Now);
    authenticated(now: Now, connection: ConnectionId, verdict: Verdict);
    persisted(now: Now, position: Position);
    persist_failed(now: Now);
    loaded(now: Now, message: MessageId, value: Option<&[u8]>);
    checkpoint(now: Now);
    storage_pressure(now: Now, is_full: bool);
    set_rules(now: Now, rules: Option<Arc<Rules>>);
    set_shadow_rules(now: Now, rules: Option<Arc<Rules>>);
    set_bans(now: Now, bans: Arc<Bans>);
    adopt(now: Now, peer: Peer, bytes: &[u8]) -> ConnectionId;
    routed(now: Now, from: PeerId, letter: Letter);
    disconnect(now: Now, connection: ConnectionId, why: CloseReason);
    shut_down(now: Now);
    poll_action() -> Option<Action>;
    transmit(now: Now, connection: ConnectionId, out: &mut Vec<u8>);
}
