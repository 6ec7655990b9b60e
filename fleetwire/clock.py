"""The two clocks: business time runs at the lab's ``time_scale``, network time never does.

Business time (working day, heartbeats, business dates) = ``business_start`` + (now - ``real_start``) x ``time_scale``.
Network time (keep-alive, latency, back-off, deadlines) is the monotonic clock, which no test and no scale may touch.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple


class BusinessClock(NamedTuple):
    """Maps host time to business time; a pure value, so that every process of a lab agrees."""

    real_start_s: float
    business_start_s: float
    time_scale: float

    def now_s(self) -> float:
        """Business time now, in unix seconds."""
        return self.at_s(time.time())

    def at_s(self, real_s: float) -> float:
        """Business time at a host time, both in unix seconds."""
        return self.business_start_s + (real_s - self.real_start_s) * self.time_scale

    def real_seconds(self, business_seconds: float) -> float:
        """How long a span of business time takes on the wall."""
        return business_seconds / self.time_scale


class SteadyClock:
    """Business time for ages: taken from the host's clock once, then driven by the monotonic one.

    So it never jumps and never runs backwards within a process, whatever is done to the host's clock.
    """

    def __init__(self, clock: BusinessClock) -> None:
        self._began_s = clock.now_s()
        self._time_scale = clock.time_scale
        self._began_monotonic_s = time.monotonic()

    def now_s(self) -> float:
        """Business time now, in unix seconds."""
        return self._began_s + (time.monotonic() - self._began_monotonic_s) * self._time_scale


SHORTEST_HEARTBEAT_S = 1.0


TERMINAL_WILL_DELAY_S: Final = 1
"""So long after a terminal's connection broke the broker publishes its will; one that is back by then publishes none."""


def heartbeat_interval_s(business_interval_s: float, time_scale: float) -> float:
    """Seconds of network time between two heartbeats of a terminal: never below SHORTEST_HEARTBEAT_S, at any scale."""
    return max(SHORTEST_HEARTBEAT_S, business_interval_s / time_scale)


def now_ms() -> int:
    """Host time in unix milliseconds: what ledgers and witnesses are stamped with."""
    return time.time_ns() // 1_000_000


def utc_text(unix_s: float) -> str:
    """RFC 3339 in UTC with milliseconds, the one time format of the contract."""
    seconds, milliseconds = divmod(round(unix_s * 1000), 1000)
    return f"{_second_text(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=4_096)
def _second_text(seconds: int) -> str:
    """Formatting a date costs ten times as much as looking it up, and many events share a second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
