//! What is between a socket and MQTT: TLS, WebSocket, PROXY, Unix sockets and QUIC, spoken by
//! libraries that share no code with the broker's side of it, or by hand where a rule is broken.
//!
//! | module | what |
//! |---|---|
//! | `tls` | versions, names, client certificates, revocation, resumption, reload, dates |
//! | `class_12_stalls` | handshakes that never end |
//! | `class_13_websocket` | frames and requests that no library would send |
//! | `class_14_proxy` | who may say whose connection it is |
//! | `moves` | connections that go from one shard to another |
//! | `quic` | what QUIC has that TLS has not |
//! | `broker` | a broker with some listeners, and who came to it |

mod broker;
mod class_12_stalls;
mod class_13_websocket;
mod class_14_proxy;
mod moves;
mod quic;
mod tls;

use core::time::Duration;

/// How long anything may take that has to happen. Long, because only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
