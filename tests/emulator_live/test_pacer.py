"""The pacer by itself: steady without drift, bursts, stalls."""

from __future__ import annotations

from emulator.pacer import BURST_LIMIT, LONGEST_WAIT_S, SHORTEST_WAIT_S, Pacer


def test_a_steady_rate_does_not_drift() -> None:
    """Whatever the wake-ups, after ten seconds exactly ten times the rate was due."""
    pacer, total, now_s = Pacer(333.0, 50.0), 0, 50.0
    while now_s < 60.0:
        now_s = min(60.0, now_s + 0.0071)
        due = pacer.due(now_s)
        pacer.traded(due)
        total += due
    assert total == 3330
    assert pacer.skipped == 0


def test_a_stall_is_made_up_for_by_a_second_at_most() -> None:
    """After ten seconds of standstill one second's worth is due, and the rest is counted."""
    pacer = Pacer(100.0, 0.0)
    assert pacer.due(10.0) == 100
    assert pacer.skipped == 900
    pacer.traded(100)
    assert pacer.due(10.0) == 0


def test_a_burst_comes_on_top_and_is_limited() -> None:
    """Burst events are due at once, beside the rate, at most BURST_LIMIT of them."""
    pacer = Pacer(10.0, 0.0)
    assert pacer.add_burst(50) == 50
    assert pacer.due(1.0) == 60
    pacer.traded(60)
    assert pacer.due(1.0) == 0
    assert pacer.add_burst(BURST_LIMIT + 1) == BURST_LIMIT
    assert pacer.add_burst(1) == 0


def test_a_changed_rate_owes_nothing() -> None:
    """What the old rate still owed is forgotten; a pause forgets bursts, too."""
    pacer = Pacer(1000.0, 0.0)
    pacer.add_burst(10)
    pacer.pause(0.5)
    assert pacer.due(9.0) == 0
    pacer.set_rate(10.0, 9.0)
    assert pacer.due(9.25) == 2


def test_waits_are_neither_endless_nor_busy() -> None:
    """A high rate wakes up every few milliseconds, a pause four times a second."""
    assert Pacer(100_000.0, 0.0).wait_s(0.0) == SHORTEST_WAIT_S
    assert Pacer(0.0, 0.0).wait_s(0.0) == LONGEST_WAIT_S
    assert Pacer(50.0, 0.0).wait_s(0.0) == 0.02
