//! Publishing and subscribing from inside the program: nothing listens.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

use core::time::Duration;
use tokio::time::timeout;
use whimbrel_core::codec::packet::QoS;
use whimbrel_tokio::{Handle, LinkError, Message, Server, ServerConfig, Subscription};

const PATIENCE: Duration = Duration::from_secs(20);
const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Handle {
    let mut config = ServerConfig {
        listeners: Vec::new(),
        ..ServerConfig::default()
    };
    change(&mut config);
    Server::new(config).start().unwrap()
}

fn start() -> Handle {
    start_with(|_| {})
}

async fn next(subscription: &mut Subscription) -> Option<Message> {
    let message = timeout(PATIENCE, subscription.next()).await;
    message.expect("a message takes too long")
}

#[tokio::test]
async fn messages_arrive_at_every_qos() {
    let broker = start();
    for qos in ALL {
        let mut subscription = broker.subscribe("room/+/light", qos).await.unwrap();
        broker
            .publish("room/1/light", b"on", qos, false)
            .await
            .unwrap();
        let expected = Message {
            topic: "room/1/light".into(),
            payload: b"on".into(),
            qos,
            retain: false,
        };
        assert_eq!(next(&mut subscription).await, Some(expected));
    }
}

#[tokio::test]
async fn a_retained_message_is_there_for_later_subscribers() {
    let broker = start();
    broker
        .publish("t", b"kept", QoS::AtLeastOnce, true)
        .await
        .unwrap();
    let mut subscription = broker.subscribe("t", QoS::AtMostOnce).await.unwrap();
    let message = next(&mut subscription).await.unwrap();
    assert!(message.retain);
    assert_eq!(message.payload, b"kept");
}

#[tokio::test]
async fn who_publishes_faster_than_somebody_reads_loses_nothing_at_qos_1() {
    const COUNT: u32 = 5_000;
    let broker = start();
    let mut subscription = broker.subscribe("t", QoS::AtLeastOnce).await.unwrap();
    let publish = async {
        for number in 0..COUNT {
            let payload = [&number.to_be_bytes()[..], &[0; 200]].concat();
            broker
                .publish("t", &payload, QoS::AtLeastOnce, false)
                .await
                .unwrap();
        }
    };
    timeout(PATIENCE, publish).await.unwrap();
    for number in 0..COUNT {
        let message = next(&mut subscription).await.unwrap();
        assert_eq!(message.payload[..4], number.to_be_bytes());
    }
}

#[tokio::test]
async fn what_is_not_mqtt_is_refused_and_harms_nobody() {
    let broker = start();
    let error = broker.publish("a/#", b"", QoS::AtMostOnce, false).await;
    assert!(matches!(error, Err(LinkError::Misuse(_))));
    let error = broker.subscribe("a/#/b", QoS::AtMostOnce).await.err();
    assert!(matches!(error, Some(LinkError::Misuse(_))));
    broker
        .publish("a", b"", QoS::AtLeastOnce, false)
        .await
        .unwrap();
}

#[tokio::test]
async fn dropping_a_subscription_ends_it() {
    let broker = start();
    let subscription = broker.subscribe("t", QoS::AtMostOnce).await.unwrap();
    drop(subscription);
    let gone = async {
        while broker.statistics().await.unwrap()[0].subscriptions > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_link_outlives_a_short_keep_alive() {
    let broker = start_with(|config| config.broker.protocol.server_keep_alive_s = Some(1));
    let mut subscription = broker.subscribe("t", QoS::AtMostOnce).await.unwrap();
    // Nothing comes for longer than the broker waits for a sign of life.
    assert!(
        timeout(Duration::from_millis(2_500), subscription.next())
            .await
            .is_err()
    );
    broker
        .publish("t", b"still here", QoS::AtMostOnce, false)
        .await
        .unwrap();
    assert_eq!(
        next(&mut subscription).await.unwrap().payload,
        b"still here"
    );
}

#[tokio::test]
async fn links_end_with_the_broker() {
    let broker = start();
    let mut subscription = broker.subscribe("t", QoS::AtLeastOnce).await.unwrap();
    broker
        .publish("t", b"last", QoS::AtLeastOnce, false)
        .await
        .unwrap();
    timeout(PATIENCE, broker.shutdown()).await.unwrap().unwrap();
    assert_eq!(next(&mut subscription).await.unwrap().payload, b"last");
    assert_eq!(next(&mut subscription).await, None);
    let error = broker.publish("t", b"", QoS::AtMostOnce, false).await;
    assert_eq!(error, Err(LinkError::Stopped));
}

#[test]
fn any_executor_will_do() {
    let broker = start();
    // A runtime without a timer or a network.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        broker
            .publish("t", b"", QoS::ExactlyOnce, false)
            .await
            .unwrap();
        broker.shutdown().await.unwrap();
    });
}
