"""Checks with Python paho-mqtt 2.x. Arguments: HOST PORT [CHECK…]."""

import hashlib
import os
import queue
import socket
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from checks import PATIENCE, check, equal, expect, main, take

PROTOCOL = {"v31": mqtt.MQTTv31, "v311": mqtt.MQTTv311, "v5": mqtt.MQTTv5}
V5 = ("v5",)
MIB = 1024 * 1024


def properties(packet, **values):
    result = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(result, name, value)
    return result


def publish_properties(**values):
    return properties("PUBLISH", **values)


TRANSPORT = {"tcp": "tcp", "tls": "tcp", "ws": "websockets", "wss": "websockets", "unix": "unix"}


def below(transport):
    """The socket under WebSocket, if there is any."""
    return getattr(transport, "_socket", transport)


class Client:
    """One paho client; what happens to it is put in queues, so that every wait is bounded.

    In v5 a client that is not `clean` keeps its session for five minutes.
    """

    def __init__(
        self, at, name=None, clean=True, will=None, keep_alive=60, manual_ack=False, **connect
    ):
        self.at = at
        self.name = at.client_id("c") if name is None else name
        self.messages = queue.Queue()
        self.connacks = queue.Queue()
        self.acks = queue.Queue()
        self.published = queue.Queue()
        self.ends = queue.Queue()
        v5 = at.version == "v5"
        self.paho = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.name,
            clean_session=None if v5 else clean,
            protocol=PROTOCOL[at.version],
            reconnect_on_failure=False,
            manual_ack=manual_ack,
            transport=TRANSPORT[at.over],
        )
        if at.over in ("tls", "wss"):
            self.paho.tls_set(ca_certs=at.ca)
        if at.over != "unix":
            self.paho.on_socket_open = lambda _, __, s: below(s).setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )
        self.paho.on_connect = lambda _, __, flags, reason, props: self.connacks.put(
            (flags, reason, props)
        )
        self.paho.on_disconnect = lambda _, __, flags, reason, props: self.ends.put((flags, reason))
        self.paho.on_message = lambda _, __, message: self.messages.put(message)
        self.paho.on_subscribe = lambda _, __, mid, reasons, props: self.acks.put((mid, reasons))
        self.paho.on_unsubscribe = lambda _, __, mid, reasons, props: self.acks.put((mid, reasons))
        self.paho.on_publish = lambda _, __, mid, reason, props: self.published.put((mid, reason))
        if will:
            self.paho.will_set(**will)
        options = {}
        if v5:
            if not clean:
                connect.setdefault("SessionExpiryInterval", 300)
            options = {"clean_start": clean, "properties": properties("CONNECT", **connect)}
        at.opened.append(self)
        self.paho.connect(at.host, at.port, keepalive=keep_alive, **options)
        self.paho.loop_start()
        self.flags, self.reason, self.connack = take(self.connacks, "CONNACK")
        equal(self.reason.value, 0, "CONNACK reason")

    @property
    def session_present(self):
        """What CONNACK says; MQTT 3.1 has no such flag, so there it is None."""
        return None if self.at.version == "v31" else self.flags.session_present

    def subscribe(self, topic_filter, qos=0, **rest):
        """Returns the reason code of the SUBACK. `options=` replaces `qos` in v5."""
        if "options" in rest:
            _, mid = self.paho.subscribe(topic_filter, **rest)
        else:
            _, mid = self.paho.subscribe(topic_filter, qos, **rest)
        return self._reasons(mid)[0].value

    def unsubscribe(self, topic_filter):
        _, mid = self.paho.unsubscribe(topic_filter)
        return [reason.value for reason in self._reasons(mid)]

    def _reasons(self, wanted):
        mid, reasons = take(self.acks, "SUBACK or UNSUBACK")
        equal(mid, wanted, "packet identifier acknowledged")
        return reasons

    def publish(self, topic, payload="", qos=1, **rest):
        """Returns the reason code of PUBACK or PUBCOMP once the exchange is over."""
        sent = self.paho.publish(topic, payload, qos, **rest)
        while True:
            mid, reason = take(self.published, "acknowledgement")
            if mid == sent.mid:
                return reason.value if reason else 0

    def receive(self, count=1):
        return [take(self.messages, "message") for _ in range(count)]

    def received_so_far(self):
        """What was on its way: all that arrives before a message this client sends to itself."""
        marker = self.at.topic("marker", self.name)
        self.subscribe(marker, 2)
        self.paho.publish(marker, "", 2)
        before = []
        while True:
            message = take(self.messages, "message")
            if message.topic == marker:
                return before
            before.append(message)

    def end(self):
        """Waits until the connection is closed and returns (flags, reason) as paho saw it."""
        return take(self.ends, "end of the connection")

    def disconnect(self, **rest):
        self.paho.disconnect(**rest)
        self.end()
        self.paho.loop_stop()

    def vanish(self):
        """Closes the transport without DISCONNECT."""
        below(self.paho.socket()).shutdown(socket.SHUT_RDWR)
        self.end()
        self.paho.loop_stop()

    def close(self):
        if self.paho.is_connected():
            self.paho.disconnect()
        self.paho.loop_stop()


def payloads(messages):
    return [message.payload.decode() for message in messages]


def numbers(count):
    return [str(number) for number in range(count)]


# --- every version --------------------------------------------------------------------------------


@check()
def publish_and_subscribe_at_QoS_0_1_and_2(at):
    sender, receiver = Client(at), Client(at)
    for qos in (0, 1, 2):
        topic = at.topic("qos", str(qos))
        equal(receiver.subscribe(topic, qos), qos, "granted QoS")
        for payload in (f"at {qos}", "", "späte Grüße \U0001f426"):
            sender.publish(topic, payload, qos)
            [message] = receiver.receive()
            equal(message.payload.decode(), payload, "payload")
            equal((message.topic, message.qos), (topic, qos), "topic and QoS")
            expect(not message.retain, "RETAIN is set on a fresh message")
    equal(receiver.received_so_far(), [], "left over")


@check()
def delivery_is_at_the_lower_of_both_QoS(at):
    sender, receiver = Client(at), Client(at)
    for granted in (0, 1, 2):
        topic = at.topic("granted", str(granted))
        receiver.subscribe(topic, granted)
        for sent in (0, 1, 2):
            sender.publish(topic, "", sent)
            [message] = receiver.receive()
            equal(message.qos, min(sent, granted), f"QoS of {sent} to {granted}")


@check()
def retained_message_is_set_received_and_cleared(at):
    topic = at.topic("retained")
    sender, early = Client(at), Client(at)
    early.subscribe(topic, 1)
    sender.publish(topic, "first", retain=True)
    sender.publish(topic, "second", retain=True)
    equal([m.retain for m in early.receive(2)], [False, False], "RETAIN of live messages")

    late = Client(at)
    late.subscribe(topic, 1)
    [message] = late.receive()
    equal((message.payload, message.retain), (b"second", True), "retained message")

    sender.publish(topic, "", retain=True)
    equal(payloads(early.receive()), [""], "the clearing message")
    last = Client(at)
    last.subscribe(topic, 1)
    equal(last.received_so_far(), [], "after clearing")


@check()
def will_is_sent_when_the_connection_is_lost(at):
    watcher = Client(at)
    watcher.subscribe(at.topic("will", "#"), 2)
    for qos in (0, 1, 2):
        topic = at.topic("will", str(qos))
        lost = Client(at, will={"topic": topic, "payload": "lost", "qos": qos, "retain": True})
        lost.vanish()
        [message] = watcher.receive()
        equal((message.topic, message.payload, message.qos), (topic, b"lost", qos), "will")
        late = Client(at)
        late.subscribe(topic, 2)
        equal([m.retain for m in late.receive()], [True], "RETAIN of the retained will")
        late.publish(topic, "", retain=True)
        watcher.receive()


@check()
def will_is_not_sent_after_DISCONNECT(at):
    watcher = Client(at)
    topic = at.topic("will")
    watcher.subscribe(topic, 1)
    leaving = Client(at, will={"topic": topic, "payload": "lost", "qos": 1})
    leaving.disconnect()
    Client(at, name=leaving.name)  # the broker is now done with the connection before
    equal(watcher.received_so_far(), [], "will")


@check()
def wildcards_match_whole_levels(at):
    cases = {
        "a/+": {"a/b", "a/"},
        "a/#": {"a", "a/b", "a/b/c", "a/"},
        "+/b": {"a/b", "/b"},
        "+/+/c": {"a/b/c"},
        "#": {"a", "a/b", "a/b/c", "a/", "/b", "ab/c", "A/B"},
    }
    sender = Client(at)
    for topic_filter, wanted in cases.items():
        receiver = Client(at)
        receiver.subscribe(at.topic(topic_filter), 1)
        for topic in cases["#"]:
            sender.publish(at.topic(topic), topic)
        got = payloads(receiver.received_so_far())
        equal(sorted(got), sorted(wanted), topic_filter)


@check()
def leading_wildcards_do_not_match_dollar_topics(at):
    level = at.client_id()
    sender, plain = Client(at), Client(at)
    plain.subscribe(f"$check/{level}", 1)
    hidden = []
    for topic_filter in ("#", "+/#", f"+/{level}"):
        receiver = Client(at)
        receiver.subscribe(topic_filter, 1)
        hidden.append(receiver)
    sender.publish(f"$check/{level}", "dollar")
    equal(payloads(plain.receive()), ["dollar"], "named in full")
    for receiver in hidden:
        topics = [m.topic for m in receiver.received_so_far() if m.topic.startswith("$")]
        equal(topics, [], "matched by a wildcard")


@check()
def a_payload_of_1_MiB_arrives_whole_at_every_QoS(at):
    sender, receiver = Client(at), Client(at)
    for qos in (0, 1, 2):
        topic = at.topic("large", str(qos))
        receiver.subscribe(topic, qos)
        payload = os.urandom(MIB)
        sender.publish(topic, payload, qos)
        [message] = receiver.receive()
        equal(len(message.payload), MIB, "length")
        equal(digest(message.payload), digest(payload), "SHA-256")


def digest(payload):
    return hashlib.sha256(payload).hexdigest()


@check()
def a_session_resumes_with_all_messages_in_order_once(at):
    first = Client(at, clean=False)
    expect(not first.session_present, "session present on the first connection")
    for qos in (1, 2):
        first.subscribe(at.topic("away", str(qos)), qos)
    first.disconnect()

    sender = Client(at)
    for number in numbers(100):
        for qos in (1, 2):
            sender.publish(at.topic("away", str(qos)), number, qos)

    second = Client(at, name=first.name, clean=False)
    expect(second.session_present in (True, None), "session present is not set on return")
    got = second.received_so_far()
    for qos in (1, 2):
        of_qos = [m for m in got if m.topic == at.topic("away", str(qos))]
        equal(payloads(of_qos), numbers(100), f"messages at QoS {qos}")
        equal({m.qos for m in of_qos}, {qos}, "QoS")
    sender.publish(at.topic("away", "1"), "still subscribed")
    equal(payloads(second.receive()), ["still subscribed"], "live message")


@check()
def a_clean_start_forgets_the_session(at):
    first = Client(at, clean=False)
    first.subscribe(at.topic("forgotten"), 1)
    first.disconnect()
    Client(at).publish(at.topic("forgotten"), "queued")
    second = Client(at, name=first.name)
    expect(not second.session_present, "session present after a clean start")
    Client(at).publish(at.topic("forgotten"), "live")
    equal(payloads(second.received_so_far()), [], "messages of the old session")


@check()
def unacknowledged_messages_are_sent_again_on_return(at):
    first = Client(at, clean=False, manual_ack=True)
    topic = at.topic("again")
    first.subscribe(topic, 1)
    sender = Client(at)
    for number in numbers(5):
        sender.publish(topic, number)
    seen = first.receive(5)
    equal([m.dup for m in seen], [False] * 5, "DUP the first time")
    first.vanish()

    second = Client(at, name=first.name, clean=False)
    again = second.receive(5)
    equal(payloads(again), numbers(5), "sent again")
    equal([m.dup for m in again], [True] * 5, "DUP")
    equal([m.mid for m in again], [m.mid for m in seen], "packet identifiers")
    equal(second.received_so_far(), [], "left over")


@check()
def takeover_closes_the_first_connection(at):
    first = Client(at, clean=False)
    first.subscribe(at.topic("taken"), 1)
    second = Client(at, name=first.name, clean=False)
    flags, reason = first.end()
    if at.version == "v5":
        expect(flags.is_disconnect_packet_from_server, "no DISCONNECT to the first connection")
        equal(reason.value, 0x8E, "reason code")
    expect(second.session_present in (True, None), "the session was not taken over")
    Client(at).publish(at.topic("taken"), "on")
    equal(payloads(second.receive()), ["on"], "message for the session")


@check()
def ten_thousand_messages_at_QoS_1_arrive_in_order(at):
    count, ahead = 10_000, threading.Semaphore(500)  # fewer than any sensible queue limit
    sender, receiver = Client(at), Client(at)
    topic = at.topic("many")
    receiver.subscribe(topic, 1)

    def send():
        for number in numbers(count):
            if not ahead.acquire(timeout=PATIENCE):
                return  # the receiver has already complained
            sender.paho.publish(topic, number, 1)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    for number in numbers(count):
        [message] = receiver.receive()
        equal(message.payload.decode(), number, "next message")
        ahead.release()
    thread.join(PATIENCE)
    equal(receiver.received_so_far(), [], "left over")


@check()
def unsubscribe_stops_delivery(at):
    sender, receiver = Client(at), Client(at)
    receiver.subscribe([(at.topic("one"), 1), (at.topic("two"), 1)])
    sender.publish(at.topic("one"), "before")
    equal(payloads(receiver.receive()), ["before"], "while subscribed")
    receiver.unsubscribe(at.topic("one"))
    sender.publish(at.topic("one"), "after")
    sender.publish(at.topic("two"), "other")
    equal(payloads(receiver.received_so_far()), ["other"], "after UNSUBACK")


@check()
def subscribing_again_replaces_the_QoS(at):
    sender, receiver = Client(at), Client(at)
    topic = at.topic("replaced")
    receiver.subscribe(topic, 0)
    receiver.subscribe(topic, 2)
    sender.publish(topic, "once", 2)
    equal([m.qos for m in receiver.received_so_far()], [2], "deliveries")


@check(our_choice=True)
def overlapping_subscriptions_deliver_once_at_the_highest_QoS(at):
    sender, receiver = Client(at), Client(at)
    receiver.subscribe(at.topic("overlap", "#"), 0)
    receiver.subscribe(at.topic("overlap", "x"), 2)
    receiver.subscribe(at.topic("overlap", "+"), 1)
    sender.publish(at.topic("overlap", "x"), "once", 2)
    equal([m.qos for m in receiver.received_so_far()], [2], "deliveries")


# --- MQTT 5.0 -------------------------------------------------------------------------------------


@check(V5)
def properties_of_a_message_arrive(at):
    sender, receiver = Client(at), Client(at)
    topic = at.topic("properties")
    receiver.subscribe(topic, 2)
    pairs = [("a", "1"), ("b", "2"), ("a", "3"), ("", "")]
    for qos in (0, 1, 2):
        sent = publish_properties(
            UserProperty=pairs,
            ContentType="text/plain",
            ResponseTopic=at.topic("answer"),
            CorrelationData=b"\x00\xff\x01",
            PayloadFormatIndicator=1,
        )
        sender.publish(topic, "grüß", qos, properties=sent)
        got = receiver.receive()[0].properties
        equal(got.UserProperty, pairs, "user properties, in order")
        equal(got.ContentType, "text/plain", "content type")
        equal(got.ResponseTopic, at.topic("answer"), "response topic")
        equal(got.CorrelationData, b"\x00\xff\x01", "correlation data")
        equal(got.PayloadFormatIndicator, 1, "payload format indicator")


@check(V5)
def properties_of_a_retained_message_and_of_a_will_arrive(at):
    watcher, topic = Client(at), at.topic("kept")
    watcher.subscribe(topic, 1)
    will = {"topic": topic, "payload": "will", "qos": 1, "retain": True}
    will["properties"] = properties(
        "WILLMESSAGE", UserProperty=[("k", "v")], ContentType="c/t", CorrelationData=b"\x07"
    )
    Client(at, will=will).vanish()
    late = Client(at)
    watcher.receive()
    late.subscribe(topic, 1)
    got = late.receive()[0].properties
    equal((got.UserProperty, got.ContentType), ([("k", "v")], "c/t"), "properties")
    equal(got.CorrelationData, b"\x07", "correlation data")
    late.publish(topic, "", retain=True)


@check(V5)
def time_counts_down_and_runs_out(at):
    """Message expiry, session expiry and will delay in one: time is waited for only once."""
    sender, topic = Client(at), at.topic("expiry")
    queued = Client(at, clean=False)
    queued.subscribe(topic, 1)
    queued.disconnect()
    short_lived = Client(at, clean=False, SessionExpiryInterval=1)
    short_lived.disconnect()
    watcher = Client(at)
    watcher.subscribe(at.topic("delayed", "#"), 1)
    kept, gone = (
        Client(
            at,
            clean=False,
            will={
                "topic": at.topic("delayed", name),
                "qos": 1,
                "properties": properties("WILLMESSAGE", WillDelayInterval=1),
            },
        )
        for name in ("kept", "gone")
    )
    kept.vanish()
    gone.vanish()
    Client(at, name=kept.name, clean=False)

    sender.publish(topic, "brief", properties=publish_properties(MessageExpiryInterval=1))
    sender.publish(topic, "lasting", properties=publish_properties(MessageExpiryInterval=60))
    sender.publish(topic, "endless")
    retained = publish_properties(MessageExpiryInterval=1)
    sender.publish(at.topic("kept"), "brief", retain=True, properties=retained)

    equal([m.topic for m in watcher.receive()], [at.topic("delayed", "gone")], "delayed will")
    time.sleep(2.1)  # time itself is under test, and the wire counts it in whole seconds

    equal(watcher.received_so_far(), [], "will of the client that came back in time")
    got = Client(at, name=queued.name, clean=False).received_so_far()
    equal(payloads(got), ["lasting", "endless"], "queued messages")
    expiry = got[0].properties.MessageExpiryInterval
    expect(50 <= expiry < 60, f"remaining message expiry of 60 s is {expiry} s")
    expect(not hasattr(got[1].properties, "MessageExpiryInterval"), "expiry out of nothing")
    late = Client(at)
    late.subscribe(at.topic("kept"), 1)
    equal(late.received_so_far(), [], "expired retained message")
    again = Client(at, name=short_lived.name, clean=False)
    expect(not again.session_present, "a session outlived its expiry interval")


@check(V5)
def DISCONNECT_can_shorten_the_session_expiry_and_keep_the_will(at):
    watcher = Client(at)
    watcher.subscribe(at.topic("will"), 1)
    first = Client(at, clean=False, will={"topic": at.topic("will"), "payload": "kept", "qos": 1})
    first.disconnect(
        reasoncode=ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"),
        properties=properties("DISCONNECT", SessionExpiryInterval=0),
    )
    equal(payloads(watcher.receive()), ["kept"], "will after reason 0x04")
    second = Client(at, name=first.name, clean=False)
    expect(not second.session_present, "the session was kept in spite of expiry 0")


@check(V5)
def subscription_identifiers_arrive(at):
    sender, receiver = Client(at), Client(at)
    receiver.subscribe(
        at.topic("one"), 1, properties=properties("SUBSCRIBE", SubscriptionIdentifier=268435455)
    )
    sender.publish(at.topic("one"))
    equal(receiver.receive()[0].properties.SubscriptionIdentifier, [268435455], "identifiers")
    receiver.subscribe(
        at.topic("one"), 1, properties=properties("SUBSCRIBE", SubscriptionIdentifier=2)
    )
    sender.publish(at.topic("one"))
    equal(receiver.receive()[0].properties.SubscriptionIdentifier, [2], "replaced identifier")
    receiver.subscribe(at.topic("none"), 1)
    sender.publish(at.topic("none"))
    got = receiver.receive()[0].properties
    expect(not hasattr(got, "SubscriptionIdentifier"), "identifier out of nothing")


@check(V5, our_choice=True)
def overlapping_subscriptions_deliver_once_with_all_identifiers(at):
    sender, receiver = Client(at), Client(at)
    for identifier, topic_filter in enumerate(("#", "+", "x"), start=1):
        receiver.subscribe(
            at.topic("overlap", topic_filter),
            1,
            properties=properties("SUBSCRIBE", SubscriptionIdentifier=identifier),
        )
    sender.publish(at.topic("overlap", "x"))
    got = [sorted(m.properties.SubscriptionIdentifier) for m in receiver.received_so_far()]
    equal(got, [[1, 2, 3]], "identifiers")


@check(V5)
def reason_codes_are_told(at):
    client = Client(at)
    for qos in (0, 1, 2):
        equal(client.subscribe(at.topic("known"), qos), qos, "SUBACK")
        expected = {0, 0x10} if qos else {0}  # 0x10, no matching subscribers, may be told
        expect(client.publish(at.topic("nobody"), "", qos) in expected, "PUBACK or PUBREC")
        equal(client.publish(at.topic("known"), "", qos), 0, "PUBACK or PUBCOMP")
        client.receive()
    filters = [at.topic("known"), at.topic("unknown")]
    equal(client.unsubscribe(filters), [0, 0x11], "UNSUBACK")


@check(V5)
def a_client_identifier_is_assigned(at):
    first, second = Client(at, name=""), Client(at, name="")
    names = [client.connack.AssignedClientIdentifier for client in (first, second)]
    expect(all(names) and names[0] != names[1], f"assigned {names}")
    third = Client(at, name=names[0])
    expect(not hasattr(third.connack, "AssignedClientIdentifier"), "assigned in spite of a name")
    equal(first.end()[1].value, 0x8E, "the assigned name is the client's")


@check(V5)
def limits_in_CONNACK_are_sound(at):
    connack = Client(at, keep_alive=30).connack
    lowest = {
        "ServerKeepAlive": 1,
        "ReceiveMaximum": 1,
        "MaximumPacketSize": 1,
        "TopicAliasMaximum": 0,
        "SessionExpiryInterval": 0,
    }
    for name, low in lowest.items():
        value = getattr(connack, name, low)
        expect(value >= low, f"{name} is {value}")
    expect(getattr(connack, "MaximumQoS", 0) in (0, 1), "maximum QoS is told only when below 2")


@check(V5)
def topic_alias_of_the_publisher_is_resolved(at):
    sender, receiver = Client(at), Client(at)
    expect(getattr(sender.connack, "TopicAliasMaximum", 0) >= 2, "no topic alias is allowed")
    receiver.subscribe(at.topic("alias", "#"), 1)

    def send(name, payload, alias):
        topic = at.topic("alias", name) if name else ""
        sender.publish(topic, payload, properties=publish_properties(TopicAlias=alias))

    send("a", "a1", 1)
    send("b", "b1", 2)
    send("", "a2", 1)
    send("", "b2", 2)
    send("c", "c1", 1)  # the alias means another topic from here on
    send("", "c2", 1)
    got = [(m.topic[-1], m.payload.decode()) for m in receiver.receive(6)]
    wanted = [("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2"), ("c", "c1"), ("c", "c2")]
    equal(got, wanted, "topics and payloads")


@check(V5)
def no_local_keeps_own_messages_away(at):
    client, other = Client(at), Client(at)
    topic = at.topic("local")
    client.subscribe(topic, options=SubscribeOptions(qos=1, noLocal=True))
    client.publish(topic, "mine")
    other.publish(topic, "yours")
    equal(payloads(client.received_so_far()), ["yours"], "messages")


@check(V5)
def retain_as_published_keeps_the_flag(at):
    sender, topic = Client(at), at.topic("flag")
    for keep in (False, True):
        receiver = Client(at)
        receiver.subscribe(topic, options=SubscribeOptions(qos=1, retainAsPublished=keep))
        sender.publish(topic, "set", retain=True)
        sender.publish(topic, "plain")
        got = [(m.payload.decode(), m.retain) for m in receiver.receive(2)]
        equal(got, [("set", keep), ("plain", False)], f"RETAIN as published {keep}")
        sender.publish(topic, "", retain=True)


@check(V5)
def retain_handling_decides_what_a_subscription_starts_with(at):
    sender, topic = Client(at), at.topic("handling")
    sender.publish(topic, "kept", retain=True)
    wanted = {0: [1, 1], 1: [1, 0], 2: [0, 0]}
    for handling, counts in wanted.items():
        receiver = Client(at)
        for count in counts:
            receiver.subscribe(topic, options=SubscribeOptions(qos=1, retainHandling=handling))
            got = payloads(receiver.received_so_far())
            equal(got, ["kept"] * count, f"retain handling {handling}")
    sender.publish(topic, "", retain=True)


@check(V5)
def a_shared_subscription_delivers_each_message_once(at):
    share = f"$share/{at.client_id('s')}/" + at.topic("shared", "#")
    sender, plain, members = Client(at), Client(at), [Client(at), Client(at)]
    plain.subscribe(at.topic("shared", "x"), 2)
    for member in members:
        member.subscribe(share, 2)
    for number in numbers(100):
        sender.publish(at.topic("shared", "x"), number, 1 + int(number) % 2)
    parts = [payloads(member.received_so_far()) for member in members]
    equal(sorted(parts[0] + parts[1], key=int), numbers(100), "what both members got")
    got = payloads(plain.receive(100))
    equal(sorted(got, key=int), numbers(100), "what the plain subscription got")
    members[0].unsubscribe(share)
    for number in numbers(10):
        sender.publish(at.topic("shared", "x"), number)
    equal(payloads(members[1].receive(10)), numbers(10), "the member that stayed")
    equal(payloads(members[0].received_so_far()), [], "the member that left")


@check(V5)
def a_shared_subscription_gets_no_retained_message(at):
    sender, member, topic = Client(at), Client(at), at.topic("kept")
    sender.publish(topic, "kept", retain=True)
    member.subscribe(f"$share/{at.client_id('s')}/{topic}", 1)
    equal(payloads(member.received_so_far()), [], "messages")
    sender.publish(topic, "", retain=True)


@check(V5)
def receive_maximum_1_is_kept(at):
    sender = Client(at)
    receiver = Client(at, manual_ack=True, ReceiveMaximum=1)
    topic = at.topic("window")
    receiver.subscribe(topic, 1)
    for number in numbers(10):
        sender.publish(topic, number)
    for number in numbers(10):
        [message] = receiver.receive()
        equal(message.payload.decode(), number, "next message")
        receiver.unsubscribe(at.topic("round trip"))
        expect(receiver.messages.empty(), "a second message came before the first was acknowledged")
        receiver.paho.ack(message.mid, message.qos)


@check(V5)
def a_message_larger_than_the_maximum_packet_size_is_skipped(at):
    sender, small, large = Client(at), Client(at, MaximumPacketSize=500), Client(at)
    for receiver in (small, large):
        receiver.subscribe(at.topic("size"), 1)
    for payload in ("a", "b" * 1000, "c"):
        equal(sender.publish(at.topic("size"), payload), 0, "PUBACK")
    equal(payloads(small.received_so_far()), ["a", "c"], "within 500 bytes")
    equal(payloads(large.received_so_far()), ["a", "b" * 1000, "c"], "without limit")


if __name__ == "__main__":
    main("paho")
