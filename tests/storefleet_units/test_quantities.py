"""Numbers as people write them are read in one way, and refused by the limit that they break."""

from __future__ import annotations

import pytest

from fleetwire.errors import SettingsError
from storefleet.quantities import read_duration, read_rate, read_whole


@pytest.mark.parametrize(
    ("text", "rate_per_s"),
    [
        ("200/s", 200.0),
        ("200", 200.0),
        ("600/min", 10.0),
        ("3600/h", 1.0),
        ("0", 0.0),
        ("1e5/s", 1e5),
        (" .5 /s ", 0.5),
    ],
)
def test_rates(text: str, rate_per_s: float) -> None:
    """With or without a unit; the limit itself is allowed."""
    assert read_rate(text) == rate_per_s


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1e9/s", "--rate 1e9/s: at most 100,000/s"),
        ("99999999/s", "--rate 99999999/s: at most 100,000/s"),
        ("100001", "--rate 100001: at most 100,000/s"),
        ("inf", "--rate inf: at most 100,000/s"),
        ("1e999/s", "--rate 1e999/s: at most 100,000/s"),
        ("-5/s", "--rate -5/s: at least 0/s"),
        ("-inf/s", "--rate -inf/s: at least 0/s"),
        *((text, f"--rate {text!r}: expected a number of events such as 200/s or 600/min, from 0 to 100,000/s")
          for text in ("", "/s", "nan/s", "1_000/s", "\u0662/s", "5/day", "5 s", "1e/s", "0x10")),
    ],
)  # fmt: skip
def test_refused_rates(text: str, said: str) -> None:
    """By the limit where there is a number, else by what is expected with its limits."""
    with pytest.raises(SettingsError) as caught:
        read_rate(text)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0s", "--deadline 0s: at least 0.1 s"),
        ("-1m", "--deadline -1m: at least 0.1 s"),
        ("8000h", "--deadline 8000h: at most 604,800 s"),
        ("infs", "--deadline infs: at most 604,800 s"),
        ("nan", "--deadline 'nan': expected a time such as 60s, 500ms or 2m, from 0.1 s to 604,800 s"),
        ("1_0s", "--deadline '1_0s': expected a time such as 60s, 500ms or 2m, from 0.1 s to 604,800 s"),
    ],
)
def test_refused_durations(text: str, said: str) -> None:
    """The same for times."""
    assert read_duration("500ms", "--deadline", at_least_s=0.1) == 0.5
    with pytest.raises(SettingsError) as caught:
        read_duration(text, "--deadline", at_least_s=0.1)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "--stores 0: at least 1"),
        ("100001", "--stores 100001: at most 100,000"),
        ("10**9", "--stores '10**9': expected a whole number from 1 to 100,000"),
        ("1_0", "--stores '1_0': expected a whole number from 1 to 100,000"),
        ("\u0661", "--stores '\u0661': expected a whole number from 1 to 100,000"),
        ("2.5", "--stores '2.5': expected a whole number from 1 to 100,000"),
    ],
)
def test_refused_whole_numbers(text: str, said: str) -> None:
    """And for whole numbers."""
    assert read_whole(" 7 ", "--stores", 1, 100_000) == 7
    with pytest.raises(SettingsError) as caught:
        read_whole(text, "--stores", 1, 100_000)
    assert str(caught.value) == said
