"""Fixtures of all tests: a real broker, for each test its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.broker import Broker


@pytest.fixture
def make_broker() -> Iterator[Callable[..., Broker]]:
    """Make brokers with configuration lines of your own; they are not started yet, and closed after the test."""
    brokers: list[Broker] = []

    def make(*lines: str, anonymous: bool = True, persistence: bool = False) -> Broker:
        brokers.append(Broker(lines, anonymous=anonymous, persistence=persistence))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.close()


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    """A started Mosquitto on a free loopback port: without persistence, everybody may connect."""
    return make_broker().start()
