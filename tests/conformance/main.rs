//! What the standards demand, through the core's public interface: one file a chapter, one body for
//! all versions where they agree.

mod ack;
mod alias;
mod auth;
mod capabilities;
mod connect;
mod disconnect;
mod flow;
mod hostile;
mod keep_alive;
mod limits;
mod order;
mod properties;
mod publish;
mod qos;
mod retained;
mod session;
mod shared;
mod subscribe;
mod unsubscribe;
mod will;
