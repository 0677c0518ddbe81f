//! The whole broker in one thread, from one seed: real `Broker`, real log on a simulated disk, real
//! clients, hostile ones, a network that breaks, processes that die, clocks that jump.
//!
//! A run has two phases. In the *safety* phase everything that can go wrong does; promises must
//! hold nevertheless. In the *liveness* phase faults stop, and all that is owed must arrive. What
//! is owed says the oracle, by plain book-keeping of what clients observed.
//!
//! ```text
//!  players ──► network ──► server: broker ──► log ──► disk
//!     │                       │                         │
//!     └──facts──► oracle      └── crashes, restarts ────┘
//! ```

mod arguments;
mod chance;
mod counts;
mod defect;
mod hostile;
mod identifiers;
mod network;
mod options;
mod oracle;
mod player;
mod post;
mod scene;
mod server;
mod simulation;
mod storage;
mod trace;

pub use arguments::{LongRun, USAGE};
pub use counts::Counts;
pub use defect::Defect;
pub use options::Options;
pub use simulation::{Report, run};
pub use storage::UPKEEP_PER_SEGMENT;
