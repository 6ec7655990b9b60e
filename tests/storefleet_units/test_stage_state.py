"""In one word and a figure: how a stage is."""

from __future__ import annotations

import pytest

from storefleet.stage_state import Patience, Process, State, not_acknowledging, state_of

WELL = Process(running=True, ready=True, silent_s=0.7)
STOPPED = WELL._replace(stopped_s=8.4, silent_s=8.9)


@pytest.mark.parametrize(
    ("process", "text"),
    [
        (WELL, ""),
        (WELL._replace(silent_s=2.0), ""),
        (WELL._replace(silent_s=8.4), "silent 8 s"),
        (WELL._replace(silent_s=2.5, silent_limit_s=2.8), ""),
        (WELL._replace(silent_s=None), ""),
        (STOPPED, "stopped 8 s"),
        (WELL._replace(running=False, silent_s=8.0), "gone"),
        (WELL._replace(ready=False), "starting"),
        (WELL._replace(ready=False, silent_s=8.0), "starting"),
        (Process(running=None, ready=False), "starting"),
        (Process(running=None, ready=False, silent_s=1.0), "gone"),
        (Process(running=True), ""),
        (Process(running=True, connected=True), ""),
        (Process(running=None, connected=False), "gone"),
        (Process(running=True, stopped_s=3.0, connected=True), "stopped 3 s"),
    ],
)
def test_one_process(process: Process, text: str) -> None:
    """What is wrong with it, the worst first, and for how long; a stage of somebody else's says nothing and is well."""
    assert state_of([process]) == State(text, bool(text), process.silent_s or 0.0)


def test_several_processes() -> None:
    """The worst of them is said, and of how many it is true; one is enough to hold things up."""
    assert state_of([WELL, STOPPED]) == State("1 of 2 stopped 8 s", True, 8.9)
    assert state_of([STOPPED, STOPPED._replace(stopped_s=3.0)]) == State("2 of 2 stopped 8 s", True, 8.9)
    assert state_of([WELL._replace(silent_s=5.0), STOPPED]) == State("1 of 2 stopped 8 s", True, 8.9)
    assert state_of([WELL, WELL]) == State("", False, 0.7)


@pytest.mark.parametrize(
    ("waiting_s", "idle_s", "text"),
    [(9.0, 8.4, "not acknowledging 8 s"), (3.0, 60.0, "not acknowledging 3 s"), (2.0, 60.0, ""), (60.0, 0.4, "")],
)
def test_what_is_not_handed_on(waiting_s: float, idle_s: float, text: str) -> None:
    """Something must have waited so long, and none must have come through: neither alone says anything."""
    assert not_acknowledging(waiting_s, idle_s) == text


def test_waiting_begins_where_something_waits() -> None:
    """Not with the age of what waits: what a heal brings has waited elsewhere; a look at which nothing waits ends it."""
    patience = Patience()
    looks = ((10.0, False, 0.0), (10.5, True, 0.0), (13.0, True, 2.5), (13.5, False, 0.0), (14.0, True, 0.0))
    assert [patience.waiting_s("parm", at_s, waits=waits) for at_s, waits, _ in looks] == [one[2] for one in looks]
    assert patience.waiting_s("views", 20.0, waits=True) == 0.0
    assert patience.waiting_s("parm", 20.0, waits=True) == 6.0
