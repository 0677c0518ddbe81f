//! Whimbrel on tokio.
