//! One file per inbound packet: which rules it has to pass, and what it does.
//!
//! Handlers know no version (they ask the connection's `profile`) and no bytes. An error closes the
//! connection with the reason code of the [`Violation`](crate::error::Violation).

mod ack;
mod auth;
mod connect;
mod disconnect;
mod hand_over;
mod letter;
pub(crate) mod publish;
mod refuse;
mod subscribe;
mod unsubscribe;
