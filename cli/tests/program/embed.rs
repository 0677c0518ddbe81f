//! The example of README.md, so that it compiles and does what it says.

use std::error::Error;

async fn example() -> Result<(), Box<dyn Error>> {
    use whimbrel_tokio::{ListenerConfig, Server, ServerConfig};

    let config = ServerConfig {
        listeners: vec![ListenerConfig::at("127.0.0.1:0".parse()?)],
        ..ServerConfig::default()
    };
    let broker = Server::new(config).start()?;
    println!("MQTT on {}", broker.addresses()[0]);
    broker.shutdown().await?;
    Ok(())
}

#[test]
fn the_example_runs() {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(example())
        .unwrap();
}

#[test]
fn the_readme_has_this_example() {
    let body = |text: &str, begin: &str, end: &str| -> Vec<String> {
        let (_, rest) = text.split_once(begin).expect("it begins");
        let (body, _) = rest.split_once(end).expect("it ends");
        body.lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    };
    let readme = body(include_str!("../../../README.md"), "```rust\n", "```");
    let example = body(include_str!("embed.rs"), "Error>> {\n", "    Ok(())\n");
    assert_eq!(readme, example);
}
