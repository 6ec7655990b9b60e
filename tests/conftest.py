"""Fixtures of all tests: a real broker and a port, for each test its own.

Drawn examples have no time limit of their own: a busy machine is no failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.broker import Broker, ReservedPort

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture
def make_broker() -> Iterator[Callable[..., Broker]]:
    """Make brokers with configuration lines of your own; they are not started yet, and closed after the test."""
    brokers: list[Broker] = []

    def make(*lines: str, anonymous: bool = True, persistence: bool = False, host: str = "127.0.0.1") -> Broker:
        brokers.append(Broker(lines, anonymous=anonymous, persistence=persistence, host=host))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.close()


@pytest.fixture
def port() -> Iterator[int]:
    """A loopback port that no other process gets; nothing listens there but what the test starts."""
    reserved = ReservedPort()
    yield reserved.number
    reserved.close()


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    """A started Mosquitto on a free loopback port: without persistence, everybody may connect."""
    return make_broker().start()
