//! Makes log lines of the core's events: one for a connection's life at `info`, the rest at
//! `debug`. Never payloads or secrets.

use core::net::SocketAddr;
use std::sync::Arc;
use tracing::{debug, info, warn};
use whimbrel_core::{CloseReason, Event};
use whimbrel_transport::Fault;

/// Gets every event of the broker, on the shard's thread; it must not block.
pub(crate) type EventSink = Arc<dyn Fn(&Event) + Send + Sync>;

/// Writes the line for one event.
pub(crate) fn report(event: &Event) {
    match event {
        // Somebody only looked at the port: nothing to tell.
        Event::Refused {
            client_id,
            why: CloseReason::TransportClosed | CloseReason::Shutdown,
            ..
        } if client_id.is_empty() => {}
        Event::Refused {
            client_id,
            address,
            why,
            ..
        } => info!(
            client_id = &**client_id,
            address = address.map(tracing::field::display),
            reason = %why,
            "client refused"
        ),
        Event::Disconnected {
            client_id,
            address,
            why,
            session_kept,
            ..
        } => info!(
            client_id = &**client_id,
            address = address.map(tracing::field::display),
            session_kept,
            reason = %why,
            "client disconnected"
        ),
        Event::EventsLost { count } => warn!(count, "events were lost"),
        Event::Connected { .. }
        | Event::SessionEnded { .. }
        | Event::Subscribed { .. }
        | Event::Unsubscribed { .. }
        | Event::Dropped { .. }
        | _ => debug!(?event, "event"),
    }
}

/// Writes the line for a connection that was cut off below MQTT.
pub(crate) fn report_fault(address: Option<SocketAddr>, fault: &Fault) {
    let address = address.map(tracing::field::display);
    info!(address, reason = %fault, "connection refused");
}
