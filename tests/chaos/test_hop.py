"""A bare hop: what goes in comes out, closes as closes, and nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import Callable

import pytest

from chaos.descriptors import LinkBudget
from chaos.hops import Hops
from fleetwire.errors import SettingsError
from fleetwire.settings import StageSettings
from tests.chaos.peers import HOP, EchoServer, HopBench, descriptors, resident_bytes, until
from tests.mqtt.peer import serving

MakeHop = Callable[..., HopBench]
MEGABYTE = 1024 * 1024


async def test_fifty_megabytes_both_ways_with_a_slow_reader(echo: EchoServer, make_hop: MakeHop) -> None:
    """50 MB come back byte for byte through a hop whose memory stays bounded while nobody reads."""
    hop = await make_hop(echo.address).start()
    reader, writer = await hop.connect()
    block = bytes(range(256)) * 4096
    before = resident_bytes()

    async def send() -> None:
        for _ in range(50):
            writer.write(block)
            await writer.drain()
        writer.write_eof()

    sender = asyncio.create_task(send())
    stalled = -1.0
    while stalled != hop.count("bytes_downstream_total"):
        stalled = hop.count("bytes_downstream_total")
        await asyncio.wait([sender], timeout=0.2)
    assert not sender.done(), "back-pressure reaches the sender"
    assert resident_bytes() - before < 30 * MEGABYTE
    digest, size = hashlib.sha256(), 0
    while chunk := await reader.read(65536):
        digest.update(chunk)
        size += len(chunk)
    await sender
    assert size == 50 * MEGABYTE
    assert digest.digest() == hashlib.sha256(block * 50).digest()
    assert hop.count("bytes_upstream_total") == hop.count("bytes_downstream_total") == size
    writer.close()
    await until(lambda: hop.count("links_open") == 0, "the link ended")


async def test_half_close_goes_through(make_hop: MakeHop) -> None:
    """A client that has finished sending still gets its answer."""

    async def answer_at_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got %d" % len(await reader.read()))

    async with serving(answer_at_end) as port:
        hop = await make_hop(f"127.0.0.1:{port}").start()
        reader, writer = await hop.connect()
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"got 5"
        writer.close()
        await until(lambda: hop.count("links_open") == 0, "the link ended")


async def test_reset_goes_through(echo: EchoServer, make_hop: MakeHop) -> None:
    """A client's RST reaches the upstream as a RST."""
    hop = await make_hop(echo.address).start()
    reader, writer = await hop.connect()
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await until(lambda: bool(echo.ends), "the upstream saw the end")
    assert echo.ends == ["ConnectionResetError"]
    await until(lambda: hop.count("links_open") == 0, "the link ended")


async def test_upstream_reset_reaches_the_client(echo: EchoServer, make_hop: MakeHop) -> None:
    """When the upstream breaks the connection, the client's ends too."""
    hop = await make_hop(echo.address).start()
    reader, writer = await hop.connect()
    writer.write(b"x")
    await reader.readexactly(1)
    await echo.stop()
    assert await reader.read() == b""
    writer.close()
    await until(lambda: hop.count("links_open") == 0, "the link ended")


async def test_upstream_down_then_up(echo: EchoServer, make_hop: MakeHop) -> None:
    """Without an upstream the client is closed and counted; with it back the same hop works."""
    hop = await make_hop(echo.address).start()
    await echo.stop()
    reader, _ = await hop.connect()
    assert await reader.read() == b""
    assert hop.count("upstream_failures_total") == 1
    await echo.start()
    reader, writer = await hop.connect()
    writer.write(b"again")
    assert await reader.readexactly(5) == b"again"
    writer.close()


async def test_thousands_of_short_connections_leave_nothing(echo: EchoServer, make_hop: MakeHop) -> None:
    """After 3,000 short connections every link has ended and no descriptor is left."""
    hop = await make_hop(echo.address).start()
    before = descriptors()

    async def visit(number: int) -> None:
        reader, writer = await hop.connect()
        writer.write(b"%d" % number)
        if number % 3 == 0:
            writer.transport.abort()
            return
        writer.write_eof()
        assert await reader.read() == b"%d" % number
        writer.close()

    for first in range(0, 3000, 100):
        await asyncio.gather(*(visit(number) for number in range(first, first + 100)))
    await until(lambda: hop.count("links_open") == 0 and echo.open == 0, "every link ended")
    await until(lambda: descriptors() <= before, "every descriptor is closed")
    assert hop.count("connections_total") == 3000


async def test_refuses_what_does_not_fit(
    echo: EchoServer, make_hop: MakeHop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When descriptors run out connections are refused, counted and explained, and those that end make room."""
    monkeypatch.setattr("chaos.hops.link_limit", lambda _: 2)
    hop = await make_hop(echo.address).start()
    kept = [await hop.connect() for _ in range(2)]
    for reader, writer in kept:
        writer.write(b"x")
        await reader.readexactly(1)
    with pytest.raises(ConnectionResetError):
        await (await hop.connect())[0].readexactly(1)
    assert hop.count("connects_refused_total") == 1
    assert "raise ulimit -n" in caplog.text
    kept[0][1].close()
    await until(lambda: hop.count("links_open") == 1, "one link ended")
    reader, writer = await hop.connect()
    writer.write(b"y")
    assert await reader.readexactly(1) == b"y"


async def test_two_processes_may_serve_one_hop(echo: EchoServer, make_hop: MakeHop) -> None:
    """With reuse_port a second server of the hop takes the same address; without it the address is taken."""
    first = await make_hop(echo.address, reuse_port=True).start()
    listen = f"127.0.0.1:{first.port}"
    second = await make_hop(echo.address, reuse_port=True, listen=listen).start()
    writers = []
    for _ in range(64):
        reader, writer = await first.connect()
        writer.write(b"x")
        await reader.readexactly(1)
        writers.append(writer)
    assert first.count("connections_total") + second.count("connections_total") == 64
    assert second.count("connections_total") > 0
    with pytest.raises(SettingsError, match=f"hop {HOP}: cannot listen"):
        await make_hop(echo.address, listen=listen).start()


def test_budget_counts_links() -> None:
    """A budget gives what it has and takes back what ends."""
    budget = LinkBudget(1)
    assert [budget.take(), budget.take()] == [True, False]
    budget.give_back()
    assert budget.take()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("{}", "hops"),
        ('{"hops": []}', "hops"),
        ('{"hops": [{"name": "a b", "upstream": "127.0.0.1:1"}]}', "letters"),
        ('{"hops": [{"name": "a", "upstream": "127.0.0.1"}]}', "host:port"),
        ('{"hops": [{"name": "a", "upstream": "127.0.0.1:1", "protocol": "amqp"}]}', "amqp"),
        ('{"hops": [{"name": "a", "upstream": "h:1"}, {"name": "a", "upstream": "h:1"}]}', "twice"),
        ('{"hops": [{"name": "a", "upstream": "h:1"}], "sed": 1}', "sed"),
    ],
)
def test_wrong_options_are_named(options: str, says: str) -> None:
    """A wrong option ends the stage before it begins, with its name."""
    with pytest.raises(SettingsError, match=says):
        Hops(StageSettings(stage="chaos", options=options))
