"""Moments as people read them: the time of day in UTC, to the millisecond; and the date where it is needed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

LATEST_MS: Final = 253_402_300_799_000
"""The end of the year 9999: no calendar here goes further."""


def clock(at_ms: int) -> str:
    """``20:16:01.330``; of a moment that no calendar has, its milliseconds."""
    if at_ms > LATEST_MS:
        return f"{at_ms} ms"
    return f"{moment(at_ms):%H:%M:%S.%f}"[:-3]


def date_and_clock(at_ms: int) -> str:
    """``2026-11-29 20:16:01 UTC``."""
    return f"{moment(at_ms):%Y-%m-%d %H:%M:%S} UTC"


def moment(at_ms: int) -> datetime:
    """The moment in UTC; one that no calendar has is the nearest that it has."""
    return datetime.fromtimestamp(min(max(at_ms, 0), LATEST_MS) / 1000, UTC)
