//! Topic names, topic filters, and the indexes over them.
//!
//! [`TopicName`] and [`TopicFilter`] are the only way in: whoever holds one holds a checked text,
//! and everything behind them compares bytes. [`Subscriptions`] goes from a name to the subscribers
//! of all filters that match it; [`TopicMap`] goes the other way, from a filter to the stored names
//! it matches.
//!
//! Not responsible for policy: who of a group gets a message, at which QoS, or whether a level
//! limit is exceeded is decided by the callers.

pub mod filter;
pub mod name;
pub mod ordered;
pub mod shared;
mod slab;
mod subscribers;
mod tree;
pub mod trie;

pub use filter::{FilterError, ParsedFilter, ShareName, TopicFilter};
pub use name::{Levels, NameError, TextError, TopicName};
pub use ordered::{Found, LevelOrder, Seek, TopicKey, TopicMap};
pub use shared::{GroupId, SharedGroup};
pub use trie::{
    Counts, FilterId, Inserted, InsertedMember, Matches, Removed, RemovedMember, Subscriber,
    SubscriberKey, Subscription, Subscriptions,
};
