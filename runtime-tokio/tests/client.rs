//! The client over a real socket, against the broker of this package.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use whimbrel_core::codec::packet::{QoS, SubscribeOptions, Version};
use whimbrel_core::codec::{Property, PropertyBuffer, ReasonCode};
use whimbrel_tokio::client::{
    self, Config, Ended, Event, Events, Message, Misuse, OpenError, RequestError,
};
use whimbrel_tokio::{Handle, ListenerConfig, Server, ServerConfig};

/// What would never come is a failure, and not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn broker() -> (Handle, String) {
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let broker = Server::new(ServerConfig {
        listeners: vec![ListenerConfig::at(any_port)],
        ..ServerConfig::default()
    })
    .start()
    .expect("a port is free");
    let address = broker.addresses()[0].to_string();
    (broker, address)
}

fn message(qos: QoS, payload: &str) -> Message {
    Message {
        topic: "t".into(),
        payload: payload.into(),
        qos,
        ..Message::default()
    }
}

async fn next_message(events: &mut Events) -> Message {
    match timeout(PATIENCE, events.next()).await {
        Ok(Some(Event::Message { message, .. })) => message,
        other => panic!("{other:?}"),
    }
}

fn all() -> Vec<(String, SubscribeOptions)> {
    let options = SubscribeOptions {
        maximum_qos: QoS::ExactlyOnce,
        ..SubscribeOptions::default()
    };
    vec![("#".into(), options)]
}

#[tokio::test]
async fn messages_come_and_go_at_every_qos_in_every_version() {
    let (broker, address) = broker();
    for version in [Version::V3, Version::V4, Version::V5] {
        let config = Config {
            version,
            client_id: "c".into(),
            ..Config::default()
        };
        let (connection, mut events) = client::open(&address, config).await.unwrap();
        let granted = connection.subscribe(all(), PropertyBuffer::new()).await;
        assert_eq!(granted, Ok(vec![ReasonCode::GRANTED_QOS_2]));
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let taken = connection.publish(message(qos, "x")).await.unwrap();
            assert_eq!(taken.wait().await, Ok(ReasonCode::SUCCESS));
            assert_eq!(next_message(&mut events).await, message(qos, "x"));
        }
        connection.unsubscribe(vec!["#".into()]).await.unwrap();
        connection.disconnect(&mut events).await;
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn more_messages_than_the_window_holds_wait_for_room() {
    let (broker, address) = broker();
    let config = Config {
        inflight_max: 3,
        ..Config::default()
    };
    let (connection, mut events) = client::open(&address, config).await.unwrap();
    let mut acknowledgements = Vec::new();
    for n in 0..1_000 {
        let message = message(QoS::AtLeastOnce, &n.to_string());
        acknowledgements.push(connection.publish(message).await.unwrap());
    }
    for acknowledgement in acknowledgements {
        let reason = acknowledgement.wait().await.unwrap();
        assert_eq!(reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    }
    connection.disconnect(&mut events).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn many_messages_arrive_whole_and_in_order() {
    let (broker, address) = broker();
    let (to, mut events) = client::open(&address, Config::default()).await.unwrap();
    to.subscribe(all(), PropertyBuffer::new()).await.unwrap();
    let (from, mut no_events) = client::open(&address, Config::default()).await.unwrap();
    let sending = tokio::spawn(async move {
        for n in 0..2_000 {
            let mut message = message(QoS::AtLeastOnce, &n.to_string());
            message.payload.resize(1_000, b' ');
            message.properties.push(Property::UserProperty("n", "v"));
            from.publish(message).await.unwrap();
        }
        from.disconnect(&mut no_events).await;
    });
    for n in 0..2_000 {
        let message = next_message(&mut events).await;
        assert_eq!(message.payload.trim_ascii_end(), n.to_string().as_bytes());
        assert_eq!(message.payload.len(), 1_000);
    }
    sending.await.unwrap();
    broker.shutdown().await.unwrap();
}

/// Whoever closes with anything unread takes back what the server has not read yet.
#[tokio::test]
async fn a_goodbye_waits_until_the_server_has_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (has_heard, heard) = oneshot::channel();
    let (close, may_close) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // CONNACK of 5.0, and after the goodbye a message that nobody takes.
        stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        assert_eq!(said.last_chunk(), Some(&[0xe0, 0]), "DISCONNECT");
        stream.write_all(&[0x30, 4, 0, 1, b't', 0]).await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        has_heard.send(()).unwrap();
        may_close.await.unwrap();
    });
    let (connection, mut events) = client::open(&address, Config::default()).await.unwrap();
    let goodbye = connection.disconnect(&mut events);
    tokio::pin!(goodbye);
    tokio::select! {
        () = &mut goodbye => panic!("the server has not closed"),
        heard = heard => heard.unwrap(),
    }
    close.send(()).unwrap();
    timeout(PATIENCE, goodbye).await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again() {
    let (broker, address) = broker();
    let config = Config {
        client_id: "c".into(),
        clean_start: false,
        session_expiry_s: 100,
        manual_acknowledgement: true,
        ..Config::default()
    };
    let (connection, mut events) = client::open(&address, config.clone()).await.unwrap();
    connection
        .subscribe(all(), PropertyBuffer::new())
        .await
        .unwrap();
    for payload in ["1", "2"] {
        connection
            .publish(message(QoS::ExactlyOnce, payload))
            .await
            .unwrap();
    }
    let Some(Event::Message { packet_id, .. }) = events.next().await else {
        panic!("no message");
    };
    connection.acknowledge(packet_id.unwrap()).await.unwrap();
    connection.disconnect(&mut events).await;
    let (_connection, mut events) = client::open(&address, config).await.unwrap();
    assert!(events.accepted().session_present);
    assert_eq!(next_message(&mut events).await.payload, b"2");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_and_the_connection_lives() {
    let (broker, address) = broker();
    let (connection, _events) = client::open(&address, Config::default()).await.unwrap();
    let wrong = Message {
        topic: "#".into(),
        ..Message::default()
    };
    let refused = connection
        .publish(wrong)
        .await
        .unwrap()
        .wait()
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        RequestError::Misuse(Misuse::TopicName(_))
    ));
    connection
        .publish(message(QoS::AtMostOnce, ""))
        .await
        .unwrap();
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_server_is_told() {
    let (broker, address) = broker();
    let (connection, mut events) = client::open(&address, Config::default()).await.unwrap();
    let (stopped, event) = tokio::join!(broker.shutdown(), events.next());
    stopped.unwrap();
    let Some(Event::Ended(Ended::Server(reason, _))) = event else {
        panic!("{event:?}");
    };
    assert_eq!(reason, ReasonCode::SERVER_SHUTTING_DOWN);
    assert!(events.next().await.is_none());
    let refused = connection
        .publish(message(QoS::AtMostOnce, ""))
        .await
        .unwrap_err();
    assert_eq!(refused, RequestError::Ended);
}

#[tokio::test]
async fn nobody_and_a_silent_server_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let impatient = Config {
        response_timeout_ms: 50,
        ..Config::default()
    };
    let error = client::open(&address, impatient.clone()).await.unwrap_err();
    assert!(matches!(error, OpenError::Ended(Ended::Timeout)), "{error}");
    drop(listener);
    let opening = client::open(&address, impatient);
    let error = timeout(Duration::from_secs(5), opening).await.unwrap();
    assert!(matches!(error, Err(OpenError::Connect(_))), "{error:?}");
}
