"""What ``--for`` and ``--events`` may be, and how much of a time is left to a run that goes on."""

from __future__ import annotations

import pytest

from fleetwire.errors import SettingsError
from storefleet.run_record import RunRecord
from storefleet.scripts import traded_before_s
from storefleet.self_ending import check_trade_events, read_trade_for
from tests.storefleet_units.plans import lab_plan


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("60s", 60.0), ("1.5m", 90.0), ("1500ms", 1.5), ("1s", 1.0), ("168h", 604_800.0)],
)
def test_a_time(text: str | None, seconds: float | None) -> None:
    """A number with its unit."""
    assert read_trade_for(text) == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("60", "say the unit"),
        ("0", "say the unit"),
        ("0s", "from 1s to 168h"),
        ("999ms", "from 1s to 168h"),
        ("169h", "from 1s to 168h"),
        ("9" * 400 + "h", "from 1s to 168h"),
        ("-5s", "such as 60s"),
        ("1e9", "such as 60s"),
        ("1e3s", "such as 60s"),
        ("nan", "such as 60s"),
        ("infs", "such as 60s"),
        ("1_000s", "such as 60s"),
        ("", "such as 60s"),
    ],
)
def test_no_time(text: str, says: str) -> None:
    """One line that names the option, what was given, and what would do."""
    with pytest.raises(SettingsError) as refused:
        read_trade_for(text)
    assert str(refused.value).startswith(f"--for {text!r}: ")
    assert says in str(refused.value)


def test_events_that_are_reached() -> None:
    """Whatever is reached within a week, or need not be, because a time ends the run."""
    assert check_trade_events(None, 0.0, None) is None
    assert check_trade_events(1, 1.0, None) == 1
    assert check_trade_events(604_800, 1.0, None) == 604_800
    assert check_trade_events(10, 0.0, 60.0) == 10
    assert check_trade_events(1_000_000_000, 1.0, 60.0) == 1_000_000_000


@pytest.mark.parametrize(
    ("events", "rate_per_s", "says"),
    [
        (0, 1.0, "from 1 to 1,000,000,000"),
        (-3, 1.0, "from 1 to 1,000,000,000"),
        (1_000_000_001, 1_000_000.0, "from 1 to 1,000,000,000"),
        (1, 0.0, "at --rate 0/s they are not traded within 168h"),
        (604_801, 1.0, "at --rate 1/s they are not traded within 168h"),
    ],
)
def test_events_that_are_refused(events: int, rate_per_s: float, says: str) -> None:
    """A number that cannot be, or that would take for ever: nothing that never ends is started."""
    with pytest.raises(SettingsError, match=says):
        check_trade_events(events, rate_per_s, None)


def test_what_earlier_labs_have_traded() -> None:
    """Of a run that goes on only the trading of its dead labs counts: not their start, nor the time without a lab."""
    record = RunRecord(lab=lab_plan())
    for name, at_ms in (
        ("starting", 0),
        ("trading", 1_000),
        ("lab gone", 3_500),
        ("starting", 9_000),
        ("trading", 10_000),
    ):
        record.enter(name, at_ms)
    assert traded_before_s(record) == 2.5
