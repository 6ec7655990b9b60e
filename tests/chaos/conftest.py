"""Fixtures of the hop tests: uvloop, as in the stage itself, and hops that are stopped after the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from tests.chaos.peers import EchoServer, HopBench


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The data plane is written for uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def echo() -> AsyncIterator[EchoServer]:
    """A server that answers every byte with itself."""
    server = EchoServer()
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def make_hop() -> AsyncIterator[Callable[..., HopBench]]:
    """Make one hop, not started yet: ``make_hop(upstream, protocol="mqtt", seed=1, ...)``."""
    made: list[HopBench] = []

    def make(upstream: str, protocol: str = "bytes", **options: object) -> HopBench:
        bench = HopBench(upstream, protocol, options)
        made.append(bench)
        return bench

    yield make
    for bench in made:
        await bench.stop()
