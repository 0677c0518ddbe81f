//! What is counted.

use whimbrel_benches::traffic::{Extra, Shape, Traffic};
use whimbrel_core::codec::packet::{QoS, Version};

/// One kind of traffic, with its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    shape: Shape,
    qos: QoS,
    payload_bytes: usize,
    version: Version,
}

impl Row {
    pub(crate) const fn traffic(&self) -> Traffic {
        Traffic {
            shape: self.shape,
            qos: self.qos,
            version: self.version,
            payload_bytes: self.payload_bytes,
            batch: match self.shape {
                // As many as a read finds when many publish at once.
                Shape::FanIn(_) => 4,
                Shape::Pairs(_) | Shape::FanOut(_) => 10,
            },
            extra: Extra::None,
        }
    }
}

const PAIRS: Shape = Shape::Pairs(10);
const FAN_IN: Shape = Shape::FanIn(50);
const FAN_OUT: Shape = Shape::FanOut(50);

const fn row(name: &'static str, shape: Shape, qos: QoS, payload_bytes: usize) -> Row {
    Row {
        name,
        shape,
        qos,
        payload_bytes,
        version: Version::V4,
    }
}

const fn v5(row: Row) -> Row {
    Row {
        version: Version::V5,
        ..row
    }
}

/// All of them, in the order of the table.
pub(crate) const ROWS: [Row; 21] = [
    row("pairs-q0-64", PAIRS, QoS::AtMostOnce, 64),
    row("pairs-q1-64", PAIRS, QoS::AtLeastOnce, 64),
    row("pairs-q2-64", PAIRS, QoS::ExactlyOnce, 64),
    row("fan-in-q0-64", FAN_IN, QoS::AtMostOnce, 64),
    row("fan-in-q1-64", FAN_IN, QoS::AtLeastOnce, 64),
    row("fan-in-q2-64", FAN_IN, QoS::ExactlyOnce, 64),
    row("fan-out-q0-64", FAN_OUT, QoS::AtMostOnce, 64),
    row("fan-out-q1-64", FAN_OUT, QoS::AtLeastOnce, 64),
    row("fan-out-q2-64", FAN_OUT, QoS::ExactlyOnce, 64),
    row("pairs-q0-1024", PAIRS, QoS::AtMostOnce, 1_024),
    row("pairs-q1-1024", PAIRS, QoS::AtLeastOnce, 1_024),
    row("pairs-q2-1024", PAIRS, QoS::ExactlyOnce, 1_024),
    row("fan-in-q0-1024", FAN_IN, QoS::AtMostOnce, 1_024),
    row("fan-in-q1-1024", FAN_IN, QoS::AtLeastOnce, 1_024),
    row("fan-in-q2-1024", FAN_IN, QoS::ExactlyOnce, 1_024),
    row("fan-out-q0-1024", FAN_OUT, QoS::AtMostOnce, 1_024),
    row("fan-out-q1-1024", FAN_OUT, QoS::AtLeastOnce, 1_024),
    row("fan-out-q2-1024", FAN_OUT, QoS::ExactlyOnce, 1_024),
    v5(row("pairs-q0-64-v5", PAIRS, QoS::AtMostOnce, 64)),
    v5(row("pairs-q1-64-v5", PAIRS, QoS::AtLeastOnce, 64)),
    v5(row("pairs-q2-64-v5", PAIRS, QoS::ExactlyOnce, 64)),
];
