"""Checks over QUIC with aioquic, which shares no code with the broker's side. Arguments: HOST PORT [CHECK…].

It is no MQTT client: packets are written here by hand.
"""

import asyncio

from aioquic.asyncio import connect
from aioquic.quic.configuration import QuicConfiguration

from checks import PATIENCE, check, equal, expect, main

ONCE = ("v311",)
CONNECT = b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0"
CONNACK = b"\x20\x02\0\0"


def packet(first_byte, body):
    length, head = len(body), bytes([first_byte])
    while True:
        length, low = length >> 7, length & 0x7F
        head += bytes([low | (0x80 if length else 0)])
        if not length:
            return head + body


def talk(at, story, protocol="mqtt"):
    """Opens a connection with one stream, and plays `story(connection, reader, writer)`."""

    async def play():
        configuration = QuicConfiguration(is_client=True, alpn_protocols=[protocol], server_name="localhost")
        configuration.load_verify_locations(at.ca)
        async with connect(at.host, at.port, configuration=configuration) as connection:
            await story(connection, *await connection.create_stream())

    asyncio.run(asyncio.wait_for(play(), PATIENCE))


async def answers(reader, writer, said, expected):
    writer.write(said)
    equal(await reader.readexactly(len(expected)), expected, f"answer to {said[:8]!r}")


async def let_in(reader, writer):
    await answers(reader, writer, CONNECT, CONNACK)


@check(ONCE)
def one_stream_carries_a_session(at):
    async def story(connection, reader, writer):
        await let_in(reader, writer)
        topic = at.topic("echo").encode()
        name = len(topic).to_bytes(2, "big") + topic
        await answers(reader, writer, packet(0x82, b"\0\x01" + name + b"\0"), b"\x90\x03\0\x01\0")
        message = packet(0x30, name + b"x" * 300_000)
        await answers(reader, writer, message, message)
        writer.write(b"\xe0\0")
        equal(await reader.read(), b"", "the end")

    talk(at, story)


@check(ONCE)
def a_connection_may_change_its_identifier(at):
    async def story(connection, reader, writer):
        await let_in(reader, writer)
        for _ in range(3):
            connection.change_connection_id()
            await answers(reader, writer, b"\xc0\0", b"\xd0\0")

    talk(at, story)


@check(ONCE)
def another_protocol_is_refused(at):
    async def story(connection, reader, writer):
        expect(False, "there is a connection")

    try:
        talk(at, story, "h3")
    except ConnectionError:
        return
    expect(False, "nobody was refused")


main("quic")
