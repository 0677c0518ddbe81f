"""Runs checks against a broker and prints one line for each.

A check is a function that takes an `At`: the broker's address, the protocol version, and names
nobody else uses. Its name, read as a sentence, is the line printed. It passes unless it raises.
"""

import os
import queue
import sys
import time
import uuid

ALL = ("v31", "v311", "v5")
OVER = os.environ.get("CLIENTS_OVER", "tcp")  # or tls, ws, wss; unix, where HOST is a file
PATIENCE = 10.0  # seconds that any one awaited event may take

_checks = []


def check(versions=ALL, our_choice=False):
    """Marks a check. `our_choice`: the standard leaves room, and this is what Whimbrel does."""

    def mark(function):
        _checks.append((function, versions, our_choice))
        return function

    return mark


class Failed(Exception):
    """The broker did something else than it should."""


def expect(condition, complaint):
    if not condition:
        raise Failed(complaint)


def equal(got, wanted, what):
    if got != wanted:
        raise Failed(f"{what}: got {short(got)}, wanted {short(wanted)}")


def take(events, what):
    """The next of a queue of events, which has to come in time."""
    try:
        return events.get(timeout=PATIENCE)
    except queue.Empty:
        raise Failed(f"no {what} within {PATIENCE:.0f} s") from None


def short(value, limit=300):
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"


class At:
    """Where a check runs, and what it has to close at its end."""

    def __init__(self, host, port, version):
        self.host, self.port, self.version = host, port, version
        self.over, self.ca = OVER, os.environ.get("CLIENTS_CA")
        self.run = uuid.uuid4().hex[:8]
        self.opened = []

    def topic(self, *levels):
        return "/".join(("clients", self.run) + levels)

    def client_id(self, role="c"):
        """At most 23 bytes: all that MQTT 3.1 allows."""
        return f"{role}-{uuid.uuid4().hex[:8]}"[-23:]

    def close(self):
        for client in reversed(self.opened):
            client.close()


def main(suite):
    host, port = sys.argv[1], int(sys.argv[2])
    wanted = sys.argv[3:]
    any_broker = os.environ.get("CLIENTS_ANY_BROKER") == "1"
    failed = False
    for version in ALL:
        for function, versions, our_choice in _checks:
            if version not in versions or wanted and function.__name__ not in wanted:
                continue
            over = "" if OVER == "tcp" else f" over {OVER}"
            name = f"{suite} {version}{over}: {function.__name__.replace('_', ' ')}"
            if our_choice and any_broker:
                print(f"not run  {name}: a choice of Whimbrel", flush=True)
                continue
            failed |= not run(name, function, At(host, port, version))
    sys.exit(3 if failed else 0)  # not 1, which is how Python itself ends in distress


def run(name, function, at):
    started = time.monotonic()
    complaint = None
    try:
        function(at)
    except Exception as error:  # whatever a check trips over is its failure; the next ones still run
        complaint = f"{type(error).__name__}: {error}".replace("\n", " ")
    finally:
        try:
            at.close()
        except Exception as error:
            complaint = complaint or f"while closing: {error!r}"
    if complaint:
        print(f"FAILED  {name}: {complaint}", flush=True)
    elif os.environ.get("CLIENTS_TIMES"):
        print(f"ok  {name} ({time.monotonic() - started:.2f} s)", flush=True)
    else:
        print(f"ok  {name}", flush=True)
    return complaint is None
