//! A broker inside a program: start it, use it, stop it.

use whimbrel_core::codec::packet::QoS;
use whimbrel_tokio::{ListenerConfig, Server, ServerConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Server::new(ServerConfig {
        listeners: vec![ListenerConfig::at("127.0.0.1:0".parse()?)],
        ..ServerConfig::default()
    })
    .start()?;
    println!("MQTT on {}", broker.addresses()[0]);
    let mut greetings = broker.subscribe("hello/#", QoS::AtLeastOnce).await?;
    broker
        .publish("hello/world", b"hi", QoS::AtLeastOnce, false)
        .await?;
    println!("{:?}", greetings.next().await);
    broker.shutdown().await?;
    Ok(())
}
