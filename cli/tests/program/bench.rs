//! `whimbrel bench`, on a broker of its own kind.

use crate::harness::{Running, forgetful, whimbrel};

/// What `whimbrel bench` says as JSON; the broker is one that keeps nothing.
fn measured(port: &str, line: &str) -> String {
    let output = whimbrel(&["bench"])
        .args(line.split(' '))
        .args(["--port", port, "--json"])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_scenario_loses_nothing() {
    let mut broker = Running::start(forgetful(&["-l", "tcp://127.0.0.1:0"]));
    let address = broker.address();
    let (_, port) = address.rsplit_once(':').unwrap();
    for line in [
        "pairs --count 500 --qos 0 --clients 3",
        "pairs --count 500 --qos 1 --clients 3 --version 5",
        "pairs --count 500 --qos 2 --clients 3 --version 3",
        "fan-in --count 500 --qos 2 --clients 5",
        "fan-out --count 50 --qos 1 --clients 5 --size 1024",
        "shared --count 500 --qos 1 --clients 4",
        "latency --count 200 --rate 2000 --clients 2",
        "connects --count 50 --clients 5",
        "idle --clients 20 --duration 1",
        "subscriptions --count 500 --clients 2 --duration 1",
        "retained --count 500 --qos 0",
        "retained --count 500 --qos 1",
        "offline --count 500",
        "offline --count 500 --qos 2 --version 5",
    ] {
        let report = measured(port, line);
        assert!(report.contains("\"ok\":true"), "{line}: {report}");
        if !line.starts_with("connects") && !line.starts_with("idle") {
            assert!(report.contains("\"lost\":0,"), "{line}: {report}");
        }
    }
}
