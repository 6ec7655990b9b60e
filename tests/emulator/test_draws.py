"""Draws are the root of every promise of sameness: their values are recorded here and may never change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.draws import Draws, Weighted


def test_recorded_values() -> None:
    """The stream for a name gives the recorded numbers on every Python version."""
    draws = Draws(7, "taco.west.s0042.r01", "event", 3)
    assert [draws.below(1000) for _ in range(10)] == RECORDED


RECORDED = [730, 311, 67, 520, 910, 338, 14, 834, 430, 736]


def test_streams_are_independent() -> None:
    """Another seed, owner, purpose or number gives another stream."""
    names = [(1, "a", "x", 0), (2, "a", "x", 0), (1, "b", "x", 0), (1, "a", "y", 0), (1, "a", "x", 1)]
    streams = {tuple(Draws(*name).below(2**32) for _ in range(4)) for name in names}
    assert len(streams) == len(names)


@given(st.integers(0, 2**63 - 1), st.integers(1, 2**40))
def test_below_stays_below(seed: int, limit: int) -> None:
    """No draw reaches its limit, also past the first block."""
    draws = Draws(seed, "owner", "purpose")
    assert all(0 <= draws.below(limit) < limit for _ in range(20))


def test_every_value_is_drawn_about_as_often() -> None:
    """Ten thousand draws below ten fall evenly enough (each 1,000, six standard deviations of 30)."""
    draws = Draws(1, "owner", "purpose")
    counts = [0] * 10
    for _ in range(10_000):
        counts[draws.below(10)] += 1
    assert all(820 < count < 1180 for count in counts)


def test_weights() -> None:
    """A weighted choice follows its weights and never gives what weighs nothing."""
    choice = Weighted([("often", 9), ("never", 0), ("rarely", 1)])
    draws = Draws(1, "owner", "purpose")
    drawn = [choice.draw(draws) for _ in range(5000)]
    assert 4300 < drawn.count("often") < 4700
    assert "never" not in drawn


def test_nothing_to_choose_from() -> None:
    """A choice without any weight says so."""
    with pytest.raises(ValueError, match="every weight is 0"):
        Weighted([("a", 0)]).draw(Draws(1, "owner", "purpose"))
