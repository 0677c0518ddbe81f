//! The real program, killed at random moments while real clients use it. Each client keeps a ledger
//! of what it was promised and what it got; at the end nothing that was promised is missing.
//!
//! `WHIMBREL_KILLS` says how often (20), `WHIMBREL_SEED` repeats a choice of moments, as far as
//! threads and the system let it. `WHIMBREL_BACKEND` is what they keep things in (`log`).
//! `WHIMBREL` names the program; without it, it is built.

mod cast;
mod full;
mod kills;
mod line;
mod mourner;
mod power;
mod program;
mod publisher;
mod subscriber;
mod verdict;
