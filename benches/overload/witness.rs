//! Two clients that behave: one publishes at QoS 0, 100 messages a second, the other has to get
//! them.

use crate::Scene;
use crate::loads::Client;
use std::io::{self, Read};
use std::time::{Duration, Instant};
use whimbrel_benches::stage;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::QoS;

/// Between two messages.
const INTERVAL: Duration = Duration::from_millis(10);

/// How long a message may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A PUBLISH of three bytes of topic and eight of payload.
const PACKET_BYTES: usize = 2 + 5 + 8;

/// The pair, and what it has seen since it was last asked.
pub(crate) struct Witness {
    publisher: Client,
    subscriber: Client,
    times: Vec<Duration>,
    lost: u64,
    number: u64,
}

impl Witness {
    pub(crate) fn new(scene: &Scene) -> io::Result<Self> {
        let mut subscriber = Client::new(scene)?;
        subscriber.subscribe("wit", QoS::AtMostOnce)?;
        subscriber.stream.read_exact(&mut [0; 5])?;
        subscriber.stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            publisher: Client::new(scene)?,
            subscriber,
            times: Vec::new(),
            lost: 0,
            number: 0,
        })
    }

    /// For so long.
    pub(crate) fn go_on(&mut self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let began = Instant::now();
            self.number += 1;
            let payload = self.number.to_be_bytes();
            let message = stage::publish("wit", &payload, QoS::AtMostOnce, 0);
            self.publisher.say(&Packet::Publish(message))?;
            let mut packet = [0; PACKET_BYTES];
            loop {
                match self.subscriber.stream.read_exact(&mut packet) {
                    Ok(()) if packet.ends_with(&payload) => {
                        self.times.push(began.elapsed());
                        break;
                    }
                    // One that was given up.
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.lost += 1;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            std::thread::sleep(INTERVAL.saturating_sub(began.elapsed()));
        }
        Ok(())
    }

    /// The end of a line of the table.
    pub(crate) fn report(&mut self) -> String {
        self.times.sort_unstable();
        let at = |of_thousand: usize| {
            let place = self.times.len() * of_thousand / 1_000;
            let time = self.times.get(place).copied().unwrap_or_default();
            format!("{:.1} ms", time.as_secs_f64() * 1e3)
        };
        let line = format!("{} | {} | {}", at(500), at(990), self.lost);
        self.times.clear();
        self.lost = 0;
        line
    }
}
