#!/usr/bin/env python3
"""Holds the light program to its budgets: .ci/budgets.py PROGRAM [PROGRAM WITH TLS]

Size of the file, resident memory when listening, without a log and with one, memory for each idle connection without and with a
subscription, a thousand connections in all, and that nothing runs when nothing happens; of the program
with TLS the size of the file. Prints what it has measured; fails when something is over its budget.
"""
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time

KIB = 1024
CONNECTIONS = 1_000
BUDGETS = {
    "file": 1536 * KIB,
    "file with TLS": 2.2 * KIB * KIB,
    "resident when listening": 1536 * KIB,
    "resident with a new log": 1536 * KIB,
    "resident with what a log kept": 1536 * KIB,
    "an idle connection": 0.9 * KIB,
    "one with a subscription": 1.05 * KIB,
    "resident with 1,000 connections": 4096 * KIB,
    "threads woken in 3 idle seconds": 0,
}


class Broker:
    def __init__(self, program, *kept):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = free.getsockname()
        url = "tcp://%s:%d" % self.address
        began = time.monotonic()
        self.process = subprocess.Popen(
            [program, "serve", *(kept or ["--memory"]), "-l", url, "--log-level", "error"],
            # As a service manager starts it.
            env={"PATH": os.defpath},
        )
        while True:
            try:
                socket.create_connection(self.address).close()
                break
            except ConnectionRefusedError:
                assert time.monotonic() - began < 10, "the broker does not listen"
                time.sleep(0.0005)
        self.started_ms = (time.monotonic() - began) * 1e3

    def resident(self):
        # VmRSS of `status` is counted per processor, and may be wrong by 128 KiB for each of them.
        with open(f"/proc/{self.process.pid}/smaps_rollup") as sums:
            line = next(line for line in sums if line.startswith("Rss:"))
        return int(line.split()[1]) * KIB

    def switches(self):
        tasks = f"/proc/{self.process.pid}/task"
        total = 0
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/status") as status:
                total += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
        return total

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0, "the broker stops"


def connect(address, number, subscribes):
    stream = socket.create_connection(address)
    stream.settimeout(20)
    name = b"device-%05d" % number
    body = b"\0\4MQTT\4\2\2\x58" + len(name).to_bytes(2, "big") + name
    stream.sendall(b"\x10" + bytes([len(body)]) + body)
    assert stream.recv(4) == b"\x20\2\0\0", "the broker accepts"
    if subscribes:
        topic = b"devices/%05d/cmd" % number
        body = b"\0\1" + len(topic).to_bytes(2, "big") + topic + b"\1"
        stream.sendall(b"\x82" + bytes([len(body)]) + body)
        assert stream.recv(5) == b"\x90\3\0\1\1", "the broker grants"
    return stream


def measure(program):
    found = {"file": os.path.getsize(program)}
    for what, subscribes in [("an idle connection", False), ("one with a subscription", True)]:
        broker = Broker(program)
        # It listens a moment before it is done with starting.
        time.sleep(0.5)
        before = broker.resident()
        streams = [connect(broker.address, n, subscribes) for n in range(CONNECTIONS)]
        after = broker.resident()
        found["resident when listening"] = before
        found[what] = (after - before) / CONNECTIONS
        found["resident with 1,000 connections"] = after
        time.sleep(0.5)
        switches = broker.switches()
        time.sleep(3)
        found["threads woken in 3 idle seconds"] = broker.switches() - switches
        for stream in streams:
            stream.close()
        broker.stop()
    print(f"{'ms until it listens':34}{broker.started_ms:12,.1f}")
    with tempfile.TemporaryDirectory() as data:
        for what in ["resident with a new log", "resident with what a log kept"]:
            broker = Broker(program, "--data-dir", data)
            time.sleep(0.5)
            found[what] = broker.resident()
            connect(broker.address, 0, False).close()
            broker.stop()
    return found


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    found = measure(sys.argv[1])
    for program in sys.argv[2:]:
        found["file with TLS"] = os.path.getsize(program)
    budgets = {what: budget for what, budget in BUDGETS.items() if what in found}
    over = [what for what, budget in budgets.items() if found[what] > budget]
    for what, budget in budgets.items():
        mark = "  OVER" if what in over else ""
        print(f"{what:34}{found[what]:12,.0f} of {budget:12,.0f}{mark}")
    sys.exit(bool(over))


main()
