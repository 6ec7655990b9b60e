"""The flow tests of the MQTT session run on uvloop, as the stages do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from fleetwire.mqtt import Endpoint, SessionGroup
from tests.broker import Broker


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop for every test in this folder (a hook of pytest-asyncio)."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def make_group() -> AsyncIterator[Callable[..., SessionGroup]]:
    """Make session groups that are closed after the test, each with quick back-off unless told otherwise."""
    groups: list[SessionGroup] = []

    def make(broker: Broker, **options: float) -> SessionGroup:
        options.setdefault("backoff_cap_s", 0.3)
        groups.append(SessionGroup(Endpoint.parse(broker.url), **options))  # type: ignore[arg-type]
        return groups[-1]

    yield make
    for group in groups:
        await group.close()


@pytest.fixture
async def group(broker: Broker, make_group: Callable[..., SessionGroup]) -> SessionGroup:
    """A session group on the test's own broker."""
    return make_group(broker)
