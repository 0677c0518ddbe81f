//! A broker inside a program: start it, use it, stop it.

use whimbrel_tokio::{ListenerConfig, Server, ServerConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Server::new(ServerConfig {
        listeners: vec![ListenerConfig::at("127.0.0.1:0".parse()?)],
        ..ServerConfig::default()
    })
    .start()?;
    println!("MQTT on {}", broker.addresses()[0]);
    broker.shutdown().await?;
    Ok(())
}
