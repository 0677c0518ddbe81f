//! stub
pub mod filter;
pub mod name;
pub mod ordered;
pub mod trie;
pub use filter::{FilterError, ParsedFilter, ShareName, TopicFilter};
pub use name::TopicName;
pub use trie::*;
