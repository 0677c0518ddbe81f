"""Checks with mosquitto_pub, mosquitto_sub and mosquitto_rr 2.x. Arguments: HOST PORT [CHECK…]."""

import json
import os
import queue
import re
import signal
import subprocess
import threading
import time

from checks import PATIENCE, Failed, check, equal, expect, main, take

VERSION = {"v31": "mqttv31", "v311": "mqttv311", "v5": "mqttv5"}
V5 = ("v5",)


def command(at, program, *arguments):
    # stdbuf: each line has to be seen when it is written, not when a buffer is full.
    place = ("--unix", at.host) if at.over == "unix" else ("-h", at.host, "-p", str(at.port))
    tls = ("--cafile", at.ca) if at.over == "tls" else ()
    return ["stdbuf", "-oL", "-eL", program, *place, *tls] + [
        *("-V", VERSION[at.version]),
        *arguments,
    ]


def pub(at, topic, payload="", *arguments, qos=1):
    """Publishes one message; `payload` None leaves the source of it to `arguments`."""
    source = () if payload is None else ("-m", payload) if payload else ("-n",)
    line = command(at, "mosquitto_pub", "-t", topic, "-q", str(qos), *source, *arguments)
    done = subprocess.run(line, capture_output=True, timeout=PATIENCE)
    equal((done.returncode, done.stderr.decode()), (0, ""), "mosquitto_pub")


def pub_lines(at, topic, lines, qos):
    """Publishes one message a line over one connection."""
    line = command(at, "mosquitto_pub", "-t", topic, "-q", str(qos), "-l")
    subprocess.run(line, input="\n".join(lines).encode(), check=True, timeout=PATIENCE)


class Sub:
    """A running mosquitto_sub, subscribed when the constructor returns."""

    def __init__(self, at, topics, *arguments, qos=1):
        self.at = at
        self.marker = at.topic("marker", at.client_id())
        self.messages = queue.Queue()
        self.log = queue.Queue()
        filters = [part for topic in (*topics, self.marker) for part in ("-t", topic)]
        self.process = subprocess.Popen(
            command(at, "mosquitto_sub", "-d", "-F", "%j", "-q", str(qos), *filters, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        at.opened.append(self)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.wait_for("Subscribed ")

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                message = json.loads(line, object_pairs_hook=keep_pairs)
                message["payload"] = message["payload"] or ""  # an empty one is printed as null
                self.messages.put(message)
            else:
                self.log.put(line.rstrip())

    def wait_for(self, text):
        """Reads the debug log on to the line that contains `text`, and returns it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            line = take(self.log, "further line in the log")
            if text in line:
                return line
        raise Failed(f"mosquitto_sub never said {text!r}")

    def receive(self, count=1):
        return [take(self.messages, "message") for _ in range(count)]

    def received_so_far(self):
        """What was on its way: all that arrives before a message published now."""
        pub(self.at, self.marker, "marker", qos=2)
        before = []
        while True:
            message = take(self.messages, "message")
            if message["topic"] == self.marker:
                return before
            before.append(message)

    def stop(self, how=signal.SIGTERM):
        """SIGTERM sends DISCONNECT (in v5 with reason 0x04, so that a will is sent), SIGKILL none."""
        self.process.send_signal(how)
        self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.process.stdout.close()


def keep_pairs(pairs):
    """A JSON object as dict, but user properties, where names repeat, as their pairs."""
    return {
        name: list(value["pairs"]) if name == "user-properties" else value for name, value in pairs
    } | {"pairs": pairs}


def payloads(messages):
    return [message["payload"] for message in messages]


def numbers(count):
    return [str(number) for number in range(count)]


def stay(at, name):
    """Arguments that make the session of client `name` outlive its connection."""
    return ("-i", name, "-c") + (("-x", "300") if at.version == "v5" else ())


# --- every version --------------------------------------------------------------------------------


@check()
def publish_and_subscribe_at_QoS_0_1_and_2(at):
    for qos in (0, 1, 2):
        topic = at.topic("qos", str(qos))
        sub = Sub(at, [topic], qos=qos)
        for payload in ("plain", "", 'späte "Grüße" \U0001f426'):
            pub(at, topic, payload, qos=qos)
            [message] = sub.receive()
            equal(message["payload"], payload, "payload")
            equal((message["topic"], message["qos"]), (topic, qos), "topic and QoS")
            equal(message["retain"], 0, "RETAIN on a fresh message")
        equal(sub.received_so_far(), [], "left over")


@check()
def retained_message_is_set_received_and_cleared(at):
    topic = at.topic("retained")
    pub(at, topic, "first", "-r")
    pub(at, topic, "second", "-r")
    early = Sub(at, [topic])
    [message] = early.receive()
    equal((message["payload"], message["retain"]), ("second", 1), "retained message")
    pub(at, topic, "", "-r")
    [message] = early.receive()
    equal((message["payload"], message["retain"]), ("", 0), "the clearing message")
    equal(Sub(at, [topic]).received_so_far(), [], "after clearing")


@check()
def will_is_sent_when_the_client_is_killed(at):
    topic = at.topic("will")
    watcher = Sub(at, [topic])
    will = ("--will-topic", topic, "--will-payload", "lost", "--will-qos", "1", "--will-retain")
    Sub(at, [], *will).stop(signal.SIGKILL)
    equal(payloads(watcher.receive()), ["lost"], "will")
    [late] = Sub(at, [topic]).receive()
    equal((late["payload"], late["retain"]), ("lost", 1), "retained will")
    pub(at, topic, "", "-r")


@check()
def will_is_not_sent_after_DISCONNECT(at):
    topic, name = at.topic("will"), at.client_id()
    watcher = Sub(at, [topic])
    leaving = Sub(at, [], "-i", name, "-C", "1", "--will-topic", topic, "--will-payload", "lost")
    pub(at, leaving.marker)
    leaving.process.wait(PATIENCE)
    pub(at, at.topic("other"), "", "-i", name)  # the broker is now done with the connection before
    equal(watcher.received_so_far(), [], "will")


@check()
def wildcards_match_whole_levels(at):
    topics = ["a", "a/b", "a/b/c", "ab/c"]
    subs = {
        "a/+": (Sub(at, [at.topic("a/+")]), ["a/b"]),
        "a/#": (Sub(at, [at.topic("a/#")]), ["a", "a/b", "a/b/c"]),
        "+/+/c": (Sub(at, [at.topic("+/+/c")]), ["a/b/c"]),
    }
    for topic in topics:
        pub(at, at.topic(topic), topic)
    for topic_filter, (sub, wanted) in subs.items():
        equal(payloads(sub.received_so_far()), wanted, topic_filter)


@check()
def leading_wildcards_do_not_match_dollar_topics(at):
    level = at.client_id()
    plain, hidden = Sub(at, [f"$check/{level}"]), Sub(at, [f"+/{level}", "+/#"])
    pub(at, f"$check/{level}", "dollar")
    equal(payloads(plain.receive()), ["dollar"], "named in full")
    got = [m["topic"] for m in hidden.received_so_far() if m["topic"].startswith("$")]
    equal(got, [], "matched by a wildcard")


@check()
def a_payload_of_1_MiB_arrives_whole_at_every_QoS(at):
    payload = os.urandom(512 * 1024).hex()
    for qos in (0, 1, 2):
        topic = at.topic("large", str(qos))
        sub = Sub(at, [topic], qos=qos)
        line = command(at, "mosquitto_pub", "-t", topic, "-q", str(qos), "-s")
        subprocess.run(line, input=payload.encode(), check=True, timeout=PATIENCE)
        [message] = sub.receive()
        equal(message["payloadlen"], 1024 * 1024, "length")
        expect(message["payload"] == payload, "the content differs")


@check()
def a_session_resumes_with_all_messages_in_order_once(at):
    for qos in (1, 2):
        topic, name = at.topic("away", str(qos)), at.client_id()
        Sub(at, [topic], *stay(at, name), qos=qos).stop()
        pub_lines(at, topic, numbers(100), qos)
        again = Sub(at, [topic], *stay(at, name), qos=qos)
        equal(payloads(again.received_so_far()), numbers(100), f"messages at QoS {qos}")


@check()
def takeover_closes_the_first_connection(at):
    name = at.client_id()
    first = Sub(at, [], "-i", name)
    second = Sub(at, [at.topic("taken")], "-i", name)
    if at.version == "v5":
        first.wait_for("DISCONNECT (142)")
    else:
        first.wait_for("sending CONNECT")  # it was closed and now wants back in
    first.stop(signal.SIGKILL)
    third = Sub(at, [at.topic("taken")], "-i", name)
    second.stop(signal.SIGKILL)
    pub(at, at.topic("taken"), "on")
    equal(payloads(third.receive()), ["on"], "message for the last connection")


@check()
def ten_thousand_messages_at_QoS_1_arrive_in_order(at):
    count, ahead = 10_000, threading.Semaphore(500)  # fewer than any sensible queue limit
    topic = at.topic("many")
    sub = Sub(at, [topic])
    line = command(at, "mosquitto_pub", "-t", topic, "-q", "1", "-l")
    sender = subprocess.Popen(line, stdin=subprocess.PIPE, bufsize=0)

    def send():
        for number in numbers(count):
            if not ahead.acquire(timeout=PATIENCE):
                break  # the receiver has already complained
            sender.stdin.write(f"{number}\n".encode())
        sender.stdin.close()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        for number in numbers(count):
            [message] = sub.receive()
            equal(message["payload"], number, "next message")
            ahead.release()
        thread.join(PATIENCE)
        equal(sender.wait(PATIENCE), 0, "mosquitto_pub")
    finally:
        if sender.poll() is None:
            sender.kill()
            sender.wait(PATIENCE)
    equal(sub.received_so_far(), [], "left over")


@check()
def unsubscribe_stops_delivery(at):
    name, one, two = at.client_id(), at.topic("one"), at.topic("two")
    Sub(at, [one, two], *stay(at, name)).stop()
    sub = Sub(at, [two], "-U", one, *stay(at, name))
    sub.wait_for("received UNSUBACK")
    pub(at, one, "after")
    pub(at, two, "other")
    equal(payloads(sub.received_so_far()), ["other"], "after UNSUBACK")


@check(our_choice=True)
def overlapping_subscriptions_deliver_once(at):
    sub = Sub(at, [at.topic("overlap", level) for level in ("#", "x", "+")])
    pub(at, at.topic("overlap", "x"), "once")
    equal(payloads(sub.received_so_far()), ["once"], "deliveries")


# --- MQTT 5.0 -------------------------------------------------------------------------------------


def with_properties(which, **values):
    """`-D` arguments: PACKET name value, with a list for what repeats."""
    arguments = []
    for name, value in values.items():
        for each in value if isinstance(value, list) else [value]:
            each = each if isinstance(each, tuple) else (str(each),)
            arguments += ["-D", which, name.replace("_", "-"), *each]
    return arguments


@check(V5)
def properties_of_a_message_arrive(at):
    topic = at.topic("properties")
    sub = Sub(at, [topic], *with_properties("subscribe", subscription_identifier=7))
    pairs = [("a", "1"), ("b", "2"), ("a", "3")]
    sent = with_properties(
        "publish",
        user_property=pairs,
        content_type="text/plain",
        response_topic=at.topic("answer"),
        correlation_data="matching",
        payload_format_indicator=1,
    )
    pub(at, topic, "grüß", *sent)
    got = sub.receive()[0]["properties"]
    equal(got["user-properties"], pairs, "user properties, in order")
    equal(got["content-type"], "text/plain", "content type")
    equal(got["response-topic"], at.topic("answer"), "response topic")
    equal(got["correlation-data"], "matching", "correlation data")
    equal(got["payload-format-indicator"], 1, "payload format indicator")
    equal(got["subscription-identifier"], 7, "subscription identifier")


@check(V5)
def message_expiry_counts_down(at):
    topic = at.topic("expiry")
    pub(at, topic, "lasting", "-r", *with_properties("publish", message_expiry_interval=60))
    time.sleep(1.1)  # time itself is under test, and the wire counts it in whole seconds
    [message] = Sub(at, [topic]).receive()
    left = message["properties"]["message-expiry-interval"]
    expect(50 <= left < 60, f"remaining message expiry of 60 s is {left} s")
    pub(at, topic, "", "-r")


@check(V5)
def a_will_carries_its_properties(at):
    topic = at.topic("will")
    watcher = Sub(at, [topic])
    will = with_properties("will", user_property=[("k", "v")], content_type="c/t")
    Sub(at, [], "--will-topic", topic, "--will-payload", "lost", *will).stop(signal.SIGKILL)
    got = watcher.receive()[0]["properties"]
    equal((got["user-properties"], got["content-type"]), ([("k", "v")], "c/t"), "properties")


@check(V5)
def will_is_sent_after_DISCONNECT_with_reason_0x04(at):
    topic = at.topic("will")
    watcher = Sub(at, [topic])
    Sub(at, [], "--will-topic", topic, "--will-payload", "kept").stop(signal.SIGTERM)
    equal(payloads(watcher.receive()), ["kept"], "will")


@check(V5)
def a_client_identifier_is_assigned(at):
    program = command(at, "mosquitto_sub", "-d", "-E", "-t", at.topic("none"))
    names = []
    for _ in range(2):
        done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE)
        names += re.findall(r"Client (\S+) received CONNACK \(0\)", done.stdout + done.stderr)
    expect(len(set(names)) == 2 and "(null)" not in names, f"assigned {names}")


@check(V5)
def topic_alias_of_the_publisher_is_resolved(at):
    topic = at.topic("alias")
    sub = Sub(at, [topic])
    pub(at, topic, "again", "--repeat", "3", *with_properties("publish", topic_alias=1))
    got = [(m["topic"], m["payload"]) for m in sub.receive(3)]
    equal(got, [(topic, "again")] * 3, "messages")


@check(V5)
def a_shared_subscription_delivers_each_message_once(at):
    topic = at.topic("shared")
    share = f"$share/{at.client_id('s')}/{topic}"
    members = [Sub(at, [share]), Sub(at, [share])]
    pub_lines(at, topic, numbers(100), 1)
    got = [payload for member in members for payload in payloads(member.received_so_far())]
    equal(sorted(got, key=int), numbers(100), "what both members got")


@check(V5)
def receive_maximum_1_and_maximum_packet_size_are_kept(at):
    topic = at.topic("limits")
    sub = Sub(at, [topic], *with_properties("connect", receive_maximum=1, maximum_packet_size=500))
    pub_lines(at, topic, numbers(50) + ["x" * 1000] + numbers(50), 1)
    equal(payloads(sub.received_so_far()), numbers(50) * 2, "messages")


@check(V5)
def a_request_is_answered(at):
    request, answer = at.topic("request"), at.topic("answer")
    responder = Sub(at, [request])
    line = command(at, "mosquitto_rr", "-t", request, "-e", answer, "-m", "ask", "-q", "1", "-W")
    requester = subprocess.Popen(
        [*line, str(int(PATIENCE)), "-D", "publish", "correlation-data", "c1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        got = responder.receive()[0]["properties"]
        equal((got["response-topic"], got["correlation-data"]), (answer, "c1"), "request")
        pub(at, answer, "told", *with_properties("publish", correlation_data="c1"))
        equal(requester.communicate(timeout=PATIENCE)[0], "told\n", "mosquitto_rr")
    finally:
        requester.kill()
        requester.wait(PATIENCE)


if __name__ == "__main__":
    main("mosquitto")
