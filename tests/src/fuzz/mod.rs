//! Fuzzing: one function for each target, from any bytes to a panic or to nothing.
//!
//! They are ordinary functions of a stable crate. `fuzz/` calls them from libFuzzer; `tests/fuzz`
//! calls them with the committed corpora and with a few thousand inputs of its own, in every `cargo
//! test`. A finding is a panic; its message says what the broker should have done instead.

mod broker;
mod client;
mod codec;
mod credentials;
mod filter;
mod proxy;
mod recording;
mod recover;
mod script;
mod settings;

pub use broker::broker;
pub use client::client;
pub use codec::{decode, roundtrip};
pub use credentials::credentials;
pub use filter::filter;
pub use proxy::proxy;
pub use recording::recording;
pub use recover::{recover, restore};
pub use settings::settings;

/// A target: its name, which is also that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("broker", broker),
    ("client", client),
    ("credentials", credentials),
    ("decode", decode),
    ("filter", filter),
    ("proxy", proxy),
    ("recording", recording),
    ("recover", recover),
    ("restore", restore),
    ("roundtrip", roundtrip),
    ("settings", settings),
];
