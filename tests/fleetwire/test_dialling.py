"""A name with several addresses: one that refuses or does not answer costs a moment, and is remembered."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from fleetwire.dialling import ADDRESS_LIMIT, STAGGER_S, Address, Dialler, in_turn
from tests.broker import ReservedPort
from tests.ipv6 import needs_ipv6
from tests.named import Named

Run = Callable[[Coroutine[Any, Any, None]], None]
V4, V6 = socket.AF_INET, socket.AF_INET6
ENOUGH_S = 8 * STAGGER_S
"""Far less than what the system waits for somebody who never answers."""


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine, on each of the two event loops."""
    return asyncio.run if request.param == "asyncio" else uvloop.run


@pytest.fixture
def refusing() -> Iterator[Address]:
    """An address where nobody listens."""
    reserved = ReservedPort()
    yield V4, ("127.0.0.1", reserved.number)
    reserved.close()


@pytest.fixture
def listening() -> Iterator[Address]:
    """One where somebody does."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield V4, listener.getsockname()


@pytest.fixture
def mute() -> Iterator[Address]:
    """One that answers no SYN: its queue of connections is full, and nobody takes any."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            try:
                held.enter_context(socket.create_connection(listener.getsockname(), timeout=0.3))
            except TimeoutError:
                break
        yield V4, listener.getsockname()


async def peer(dialler: Dialler) -> Any:
    """Where it gets to."""
    with await dialler.connect() as connected:
        assert connected.getblocking() is False
        return connected.getpeername()


def test_the_next_address_where_one_refuses(run: Run, refusing: Address, listening: Address) -> None:
    """At once, without waiting for the next turn."""

    async def check() -> None:
        began_s = time.monotonic()
        assert await peer(Named(refusing, listening)) == listening[1]
        assert time.monotonic() - began_s < STAGGER_S

    run(check())


def test_the_next_address_where_one_does_not_answer(run: Run, mute: Address, listening: Address) -> None:
    """After a moment; and the next time the good one is tried first, so that the moment is not lost again."""

    async def check() -> None:
        dialler, began_s = Named(mute, listening), time.monotonic()
        assert await peer(dialler) == listening[1]
        assert STAGGER_S * 0.9 <= time.monotonic() - began_s < ENOUGH_S
        began_s = time.monotonic()
        assert await peer(dialler) == listening[1]
        assert time.monotonic() - began_s < STAGGER_S

    run(check())


def test_where_nobody_is(run: Run, refusing: Address) -> None:
    """The error names each address and its reason, in the system's words, whichever loop it is; a single one only why."""
    other = (V4, ("127.0.0.2", refusing[1][1]))
    port = refusing[1][1]

    async def check() -> None:
        with pytest.raises(ConnectionRefusedError) as several:
            await Named(refusing, other).connect()
        assert several.value.strerror == (f"127.0.0.1:{port}: Connection refused; 127.0.0.2:{port}: Connection refused")
        with pytest.raises(OSError, match="Connection refused") as single:
            await Dialler("127.0.0.1", port).connect()
        assert (single.value.errno, single.value.strerror) == (errno.ECONNREFUSED, "Connection refused")

    run(check())


def test_who_dials_bounds_the_time(run: Run, mute: Address) -> None:
    """Where nobody answers at all it waits, and leaves no socket behind when it is told to stop."""

    async def check() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3 * STAGGER_S):
                await Named(mute, (V4, ("127.0.0.1", mute[1][1]))).connect()
        assert asyncio.all_tasks() == before

    run(check())


def test_an_address_without_a_good_peer_is_tried_last(run: Run) -> None:
    """It takes connections, and that is all: whoever finds out says so, and the next connection is another one's."""

    async def check() -> None:
        with socket.create_server(("127.0.0.1", 0)) as bad, socket.create_server(("127.0.0.1", 0)) as good:
            dialler = Named((V4, bad.getsockname()), (V4, good.getsockname()))
            assert await peer(dialler) == bad.getsockname()
            dialler.avoid(bad.getsockname())
            assert await peer(dialler) == good.getsockname()
            assert await peer(dialler) == good.getsockname()
            dialler.avoid(good.getsockname())
            assert await peer(dialler) == bad.getsockname(), "the one that failed longest ago gets its chance"
            dialler.addresses = [(V4, good.getsockname())]
            assert await peer(dialler) == good.getsockname(), "there is no other"
            dialler.addresses = [(V4, good.getsockname()), (V4, bad.getsockname())]
            assert await peer(dialler) == bad.getsockname(), "that it answers speaks for nothing"

    run(check())


def test_a_name_is_looked_up(run: Run, listening: Address) -> None:
    """Of localhost one address at least listens; one that nobody knows is the resolver's error."""

    async def check() -> None:
        assert await peer(Dialler("localhost", listening[1][1])) == listening[1]
        with pytest.raises(socket.gaierror):
            await Dialler("no-such-host.invalid", 1).connect()
        with pytest.raises((OSError, UnicodeError)):
            await Dialler("a..b", 1).connect()

    run(check())


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "0:0:0:0:0:0:0:1"])
def test_an_address_itself(run: Run, host: str) -> None:
    """It is taken as it is, however it is written."""

    async def check() -> None:
        with socket.create_server(("::1", 0), family=V6) as listener:
            dialler = Dialler(host, listener.getsockname()[1])
            assert dialler.is_literal
            assert (await peer(dialler))[:2] == listener.getsockname()[:2]
            transport, _ = await dialler.connection(asyncio.Protocol)
            transport.abort()

    run(check())


@needs_ipv6
def test_the_other_family(run: Run, refusing: Address) -> None:
    """A name whose IPv4 address refuses is reached by IPv6, with every kind of connection."""

    async def check() -> None:
        with socket.create_server(("::1", 0), family=V6) as listener:
            dialler = Named(refusing, (V6, listener.getsockname()))
            transport, _ = await dialler.connection(asyncio.Protocol)
            assert transport.get_extra_info("peername") == listener.getsockname()
            transport.abort()

    run(check())


def test_families_take_turns() -> None:
    """So that no list of dead addresses of one family hides the other; twice the same is once, and it has an end."""
    six: list[Address] = [(V6, (f"fd00::{number}", 1, 0, 0)) for number in range(20)]
    four: list[Address] = [(V4, ("10.0.0.1", 1))]
    assert in_turn([*six, *four]) == [six[0], four[0], *six[1 : ADDRESS_LIMIT - 1]]
    assert in_turn([four[0], *six[:2], four[0]]) == [four[0], six[0], six[1]]
    assert in_turn([]) == []
