//! What the standards demand, through the core's public interface: one file a chapter, one body for
//! all versions where they agree.

use std::process::Command;

/// Everything here holds of several shards as well.
#[test]
fn all_of_it_holds_of_two_and_three_shards() {
    const SHARDS: &str = "WHIMBREL_SHARDS";
    if std::env::var_os(SHARDS).is_some() {
        return; // It is being asked.
    }
    let program = std::env::current_exe().expect("this program has a name");
    for shards in ["2", "3"] {
        let mut again = Command::new(&program);
        let output = again.env(SHARDS, shards).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "with {shards} shards: {said}");
    }
}

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
