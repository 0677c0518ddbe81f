//! What fills a broker. Each goes on until it is over, or until the broker cuts it off.

use crate::Scene;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{process, thread};
use whimbrel_benches::stage;
use whimbrel_core::codec::packet::{Connect, QoS, Subscribe, SubscribeOptions, Version};
use whimbrel_core::codec::{self, Packet, Properties, SubscribeBuffer};
use whimbrel_core::id::PacketId;

type Load = fn(&Scene) -> io::Result<()>;

/// All of them, each as often as it stands here.
pub(crate) const LOADS: [(&str, Load); 13] = [
    ("flood", flood),
    ("flood", flood),
    ("flood", flood),
    ("readers", readers),
    ("slow readers", slow_readers),
    ("slow readers", slow_readers),
    ("publisher for the absent", publish_for_the_absent),
    ("publisher for the absent", publish_for_the_absent),
    ("the absent", be_absent),
    ("retaining", retain),
    ("newcomers", keep_coming),
    ("halves", send_halves),
    ("hoarders", hoard),
];

/// Tells clients apart.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

/// A connected client.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    /// One that nobody has seen, whose session ends with it.
    pub(crate) fn new(scene: &Scene) -> io::Result<Self> {
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("client-{}-{number}", process::id());
        Self::connect(scene, &stage::connect(Version::V4, &name))
    }

    pub(crate) fn connect(scene: &Scene, hello: &Connect<'_>) -> io::Result<Self> {
        let stream = TcpStream::connect(scene.address)?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream };
        client.say(&Packet::Connect(*hello))?;
        let mut answer = [0; 4];
        client.stream.read_exact(&mut answer)?;
        match answer[3] {
            0 => Ok(client),
            // There is no room for it.
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    pub(crate) fn say(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.stream.write_all(&encoded(packet))
    }

    /// Subscribes without awaiting the answer.
    pub(crate) fn subscribe(&mut self, filter: &str, maximum_qos: QoS) -> io::Result<()> {
        let mut filters = SubscribeBuffer::new();
        let options = SubscribeOptions {
            maximum_qos,
            ..SubscribeOptions::default()
        };
        filters.push(filter, options);
        self.say(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::FIRST,
            properties: Properties::EMPTY,
            filters: filters.as_filters(Version::V4),
        }))
    }
}

/// The bytes of a packet of 3.1.1.
pub(crate) fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(packet, Version::V4, &mut bytes).expect("the packet exists");
    bytes
}

fn until_it_is_over(scene: &Scene, mut step: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    while !scene.is_over.load(Ordering::Relaxed) {
        step()?;
    }
    Ok(())
}

/// QoS 0 without ever waiting.
fn flood(scene: &Scene) -> io::Result<()> {
    let mut client = Client::new(scene)?;
    let packet = encoded(&Packet::Publish(stage::publish(
        "flood/a/topic",
        &[b'x'; 64],
        QoS::AtMostOnce,
        0,
    )));
    let batch = packet.repeat(100);
    until_it_is_over(scene, || {
        client.stream.write_all(&batch)?;
        scene.sent.fetch_add(100, Ordering::Relaxed);
        Ok(())
    })
}

/// Who reads as fast as it can.
fn readers(scene: &Scene) -> io::Result<()> {
    let mut client = Client::new(scene)?;
    client.subscribe("flood/#", QoS::AtMostOnce)?;
    let mut buffer = vec![0; 256 << 10];
    until_it_is_over(scene, || match client.stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    })
}

/// Who reads nothing of what it subscribes to.
fn slow_readers(scene: &Scene) -> io::Result<()> {
    let mut clients = Vec::new();
    for number in 0..50 {
        let mut client = Client::new(scene)?;
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce][number % 2];
        client.subscribe(["flood/#", "absent/#"][number / 2 % 2], qos)?;
        clients.push(client);
    }
    wait(scene)
}

fn wait(scene: &Scene) -> io::Result<()> {
    until_it_is_over(scene, || {
        thread::sleep(Duration::from_millis(100));
        Ok(())
    })
}

/// 500 clients with sessions, which are away, and come for a moment now and then.
fn be_absent(scene: &Scene) -> io::Result<()> {
    let mut number = 0;
    until_it_is_over(scene, || {
        let name = format!("absent-{}", number % 500);
        let mut hello = stage::connect(Version::V4, &name);
        hello.clean_start = false;
        let mut client = Client::connect(scene, &hello)?;
        client.subscribe(&format!("absent/{}/#", number % 50), QoS::AtLeastOnce)?;
        client.stream.read_exact(&mut [0; 5])?;
        if number > 500 {
            thread::sleep(Duration::from_millis(20));
        }
        number += 1;
        Ok(())
    })
}

/// Sends this many QoS 1 messages at a time, and awaits their acknowledgements.
fn publish(
    scene: &Scene,
    payload: usize,
    retain: bool,
    mut topic: impl FnMut() -> String,
) -> io::Result<()> {
    const WINDOW: u16 = 50;
    let mut client = Client::new(scene)?;
    let payload = vec![b'x'; payload];
    until_it_is_over(scene, || {
        for id in 1..=WINDOW {
            let topic = topic();
            let mut message = stage::publish(&topic, &payload, QoS::AtLeastOnce, id);
            message.retain = retain;
            client.say(&Packet::Publish(message))?;
        }
        client.stream.read_exact(&mut [0; 4 * WINDOW as usize])?;
        scene.sent.fetch_add(WINDOW.into(), Ordering::Relaxed);
        Ok(())
    })
}

fn publish_for_the_absent(scene: &Scene) -> io::Result<()> {
    let mut number = 0;
    publish(scene, 1_024, false, || {
        number += 1;
        format!("absent/{}/topic", number % 50)
    })
}

/// Something else to be retained, all the time.
fn retain(scene: &Scene) -> io::Result<()> {
    publish(scene, 256, true, || {
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        format!("retained/{number}")
    })
}

/// Always another client, with a session and subscriptions that stay.
fn keep_coming(scene: &Scene) -> io::Result<()> {
    until_it_is_over(scene, || {
        let number = CLIENTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("newcomer-{number}");
        let mut hello = stage::connect(Version::V4, &name);
        hello.clean_start = false;
        let mut client = Client::connect(scene, &hello)?;
        for filter in 0..5 {
            let filter = format!("newcomers/{number}/{filter}/+/of/some/levels/#");
            client.subscribe(&filter, QoS::AtLeastOnce)?;
        }
        client.stream.read_exact(&mut [0; 25])
    })
}

/// Packets of a mebibyte, of which half comes.
fn send_halves(scene: &Scene) -> io::Result<()> {
    let whole = vec![b'x'; 1 << 20];
    let packet = encoded(&Packet::Publish(stage::publish(
        "a",
        &whole,
        QoS::AtMostOnce,
        0,
    )));
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = Client::new(scene)?;
        // Who is cut off for it has made room.
        if client.stream.write_all(&packet[..packet.len() / 2]).is_ok() {
            clients.push(client);
        }
    }
    wait(scene)
}

/// Clients that take everything and acknowledge nothing.
fn hoard(scene: &Scene) -> io::Result<()> {
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::new(scene)?;
        client.subscribe("absent/#", QoS::AtLeastOnce)?;
        client.stream.set_nonblocking(true)?;
        clients.push(client);
    }
    let mut buffer = vec![0; 64 << 10];
    until_it_is_over(scene, || {
        for client in &mut clients {
            match client.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        thread::sleep(Duration::from_millis(10));
        Ok(())
    })
}
