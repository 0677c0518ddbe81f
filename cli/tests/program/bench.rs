//! `whimbrel bench`, on a broker of its own kind.

use crate::harness::{Running, forgetful, whimbrel};
use std::net::TcpListener;

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
        "pairs --count 500 --qos 2 --clients 3 -V 3.1",
        "fan-in --count 500 --qos 2 --clients 5",
        "fan-out --count 50 --qos 1 --clients 5 --size 1024",
        "shared --count 500 --qos 1 --clients 4",
        "latency --count 200 --rate 2000 --clients 2",
        "connects --count 50 --clients 5",
        "idle --clients 20 --duration 1",
        "subscriptions --count 500 --clients 2 --duration 1",
        "retained --count 500 --qos 0",
        "retained --count 500 --qos 1",
        "offline --count 5",
        "offline --count 500 --qos 2 --version 5",
    ] {
        let report = measured(port, line);
        assert!(report.contains("\"ok\":true"), "{line}: {report}");
        assert!(!report.contains("null"), "{line}: {report}");
        if !line.starts_with("connects") && !line.starts_with("idle") {
            assert!(report.contains("\"lost\":0,"), "{line}: {report}");
        }
    }
}

#[test]
fn what_cannot_be_measured_is_told_and_is_no_result() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port().to_string()
    };
    let refused = format!("cannot connect to 127.0.0.1:{nobody}: Connection refused");
    for (line, code, expected) in [
        ("pairs", 1, &*refused),
        ("connects", 1, &refused),
        ("idle", 1, &refused),
        ("retained", 1, &refused),
        ("offline", 1, &refused),
        ("pairs --clients 0", 2, "--clients 0: at least 1"),
        ("latency --rate 0", 2, "--rate 0: at least 1"),
        ("connects --count 0", 2, "--count 0: at least 1"),
        ("pairs --duration 0", 2, "--duration 0: at least 1"),
        ("pairs --pid 4194305", 2, "--pid 4194305: no such process"),
        ("pairs -h mqtts://localhost", 2, "plain TCP"),
        ("pairs -h localhost:1884", 2, "-h localhost -p 1884"),
        ("pairs -V 6", 2, "expected 3.1, 3.1.1 or 5"),
    ] {
        let output = whimbrel(&["bench"])
            .args(line.split(' '))
            .args(["-p", &nobody])
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(expected), "{line}: {stderr}");
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        assert_eq!(stderr.contains("bench --help`"), code == 2, "{stderr}");
        assert!(output.stdout.is_empty(), "{line}");
    }
}
