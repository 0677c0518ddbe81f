//! An MQTT broker without an asynchronous runtime: `core`, the standard library, plain threads.
//!
//! `cargo run -p whimbrel-core --example blocking`, then `whimbrel sub -t '#'`.

mod broker;

use std::net::TcpListener;

fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:1883")?;
    println!("MQTT on {}", listener.local_addr()?);
    broker::serve(listener)
}
