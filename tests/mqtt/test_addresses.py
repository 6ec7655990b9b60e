"""A broker by IPv6, and one whose name has an address behind which there is no broker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from fleetwire.dialling import Address
from fleetwire.mqtt import Endpoint, SessionGroup, SessionOptions
from tests.broker import Broker
from tests.ipv6 import needs_ipv6
from tests.mqtt.peer import saying, serving
from tests.mqtt.recorder import Recorder
from tests.named import Named

V4 = socket.AF_INET
BUSY = b"\x20\x03\x00\x89\x00"
HTTP = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@needs_ipv6
async def test_a_broker_on_ipv6_alone(
    make_broker: Callable[..., Broker], make_group: Callable[..., SessionGroup]
) -> None:
    """Its URL has brackets, in what is read and in what is said."""
    broker = make_broker(host="::1").start()
    group, recorder = make_group(broker), Recorder()
    assert str(group.endpoint) == f"mqtt://[::1]:{broker.port}"
    session = group.open(SessionOptions(client_id="till"), recorder)
    await recorder.until("connected", lambda: recorder.connected == [False])
    broker.kill()
    await recorder.until("lost", lambda: len(recorder.errors) >= 2)
    assert f"mqtt://[::1]:{broker.port}, client till: " in str(recorder.errors[1])
    session.disconnect()


async def _silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()
    await reader.read()


@pytest.mark.parametrize(
    ("conversation", "failed"),
    [(saying(BUSY), "0x89"), (saying(HTTP), "no broker"), (saying(b""), "no broker"), (_silence, "no broker")],
)
async def test_an_address_without_a_broker(
    broker: Broker, conversation: Callable[..., asyncio.Future[None]], failed: str
) -> None:
    """Whether it refuses, is a web server, hangs up or is silent: a hundred sessions do not try it again and again."""
    async with serving(conversation) as port:
        group, recorder = SessionGroup(Endpoint(host="name.test", port=1), connect_timeout_s=1.0), Recorder()
        addresses: list[Address] = [(V4, ("127.0.0.1", port)), (V4, (broker.host, broker.port))]
        group._dialler = Named(*addresses)
        try:
            for number in range(100):
                group.open(SessionOptions(client_id=f"till-{number}"), recorder)
            await recorder.until("all connected", lambda: len(recorder.connected) == 100)
            assert 1 <= group.statistics.connect_failures[failed] < 100, "those that were under way together"
        finally:
            await group.close()
