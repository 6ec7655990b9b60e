"""The clocks: business time is a pure function of host time, and times have one form."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.clock import BusinessClock, SteadyClock, now_ms, utc_text

NOON_S = 1_795_348_800.0


@pytest.mark.parametrize(
    ("unix_s", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (0.0004, "1970-01-01T00:00:00.000Z"),
        (0.0006, "1970-01-01T00:00:00.001Z"),
        (0.9994, "1970-01-01T00:00:00.999Z"),
        (0.9995, "1970-01-01T00:00:01.000Z"),
        (59.9996, "1970-01-01T00:01:00.000Z"),
        (NOON_S, "2026-11-22T12:00:00.000Z"),
        (NOON_S + 43_199.9999, "2026-11-23T00:00:00.000Z"),
        (-0.001, "1969-12-31T23:59:59.999Z"),
        (-0.0001, "1970-01-01T00:00:00.000Z"),
        (-1.5, "1969-12-31T23:59:58.500Z"),
    ],
)
def test_utc_text(unix_s: float, text: str) -> None:
    """Times are rounded to milliseconds, over seconds, minutes and days, and before 1970 too."""
    assert utc_text(unix_s) == text


@given(st.integers(-(10**12), 4 * 10**12))
def test_utc_text_comes_back(unix_ms: int) -> None:
    """Every millisecond has a text of its own that any reader of RFC 3339 gives back."""
    text = utc_text(unix_ms / 1000)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", text)
    read = datetime.fromisoformat(text)
    assert round((read - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000) == unix_ms


def test_business_time() -> None:
    """Business time begins where it is told to and runs at the scale, forwards and backwards from there."""
    clock = BusinessClock(real_start_s=1_000.0, business_start_s=NOON_S, time_scale=60.0)
    assert clock.at_s(1_000.0) == NOON_S
    assert clock.at_s(1_001.0) == NOON_S + 60.0
    assert clock.at_s(999.0) == NOON_S - 60.0
    assert clock.real_seconds(90.0) == 1.5
    assert clock.at_s(1_000.0 + clock.real_seconds(3_600.0)) == pytest.approx(NOON_S + 3_600.0)


def test_now() -> None:
    """Now is the host's time put through the clock, and milliseconds are unix milliseconds."""
    clock = BusinessClock(real_start_s=0.0, business_start_s=0.0, time_scale=2.0)
    before_s = time.time()
    assert 2 * before_s <= clock.now_s() <= 2 * time.time()
    assert int(before_s * 1000) <= now_ms() <= int(time.time() * 1000) + 1


def test_a_steady_clock_ignores_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is done to the host's clock, ages go on by the monotonic one at the scale."""
    monotonic_s = [500.0]
    monkeypatch.setattr(time, "monotonic", lambda: monotonic_s[0])
    monkeypatch.setattr(time, "time", lambda: 1_000.0)
    clock = SteadyClock(BusinessClock(real_start_s=1_000.0, business_start_s=NOON_S, time_scale=60.0))
    assert clock.now_s() == NOON_S
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monotonic_s[0] += 2.0
    assert clock.now_s() == NOON_S + 120.0
