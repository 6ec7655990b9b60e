"""A hop whose ends are IPv6 addresses, and one whose upstream has an address that is no good."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import pytest

from tests.broker import Broker
from tests.chaos.peers import CONNACK, HOP, EchoServer, HopBench, connect_frame, until
from tests.ipv6 import needs_ipv6
from tests.mqtt.peer import saying, serving
from tests.named import Named

MakeHop = Callable[..., HopBench]


@needs_ipv6
async def test_both_ends_by_ipv6(make_broker: Callable[..., Broker], make_hop: MakeHop) -> None:
    """It listens there, says so with brackets, and reaches a Mosquitto that is there alone."""
    broker = make_broker(host="::1").start()
    hop = make_hop(f"[::1]:{broker.port}", "mqtt", listen="[::1]:0")
    address = (await hop.stage.start())[HOP]
    assert address.startswith("[::1]:")
    reader, writer = await asyncio.open_connection("::1", int(address.rpartition(":")[2]))
    writer.write(connect_frame("till"))
    assert (await reader.readexactly(4))[::3] == b"\x20\x00"
    writer.close()


@needs_ipv6
async def test_an_upstream_that_is_away_is_named_with_brackets(
    make_hop: MakeHop, caplog: pytest.LogCaptureFixture, port: int
) -> None:
    """As it was written."""
    hop = await make_hop(f"[::1]:{port}").start()
    reader, _ = await hop.connect()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    assert f"upstream [::1]:{port} not reachable: " in caplog.text


async def test_an_upstream_that_hangs_up_is_left_for_the_other(make_hop: MakeHop, echo: EchoServer) -> None:
    """It takes connections and answers no CONNECT: the next client is brought to the other address."""
    echo.first = CONNACK
    async with serving(saying(b"")) as port:
        hop = await make_hop(echo.address, "mqtt").start()
        addresses = [("127.0.0.1", port), ("127.0.0.1", int(echo.address.rpartition(":")[2]))]
        hop.stage._hops[HOP].upstream = Named(*((socket.AF_INET, one) for one in addresses))
        reader, writer = await hop.connect()
        writer.write(connect_frame("first"))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: hop.count("connects_unanswered_total") == 1, "it was noticed")
        reader, writer = await hop.connect()
        writer.write(connect_frame("second"))
        assert await reader.readexactly(len(CONNACK)) == CONNACK
