"""The schedule by itself: its text, and every process with every kind of fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.errors import SettingsError
from storefleet.soak.drawn import schedules
from storefleet.soak.schedule import (
    KINDS_OF,
    LONGEST_GAP_S,
    LONGEST_LEAD_S,
    LONGEST_PAUSE_S,
    SHORTEST_LEAD_S,
    SHORTEST_PAUSE_S,
    SINGLES,
    STEP_LIMIT,
    Step,
    each_alone,
    read_schedule,
    schedule_text,
)

PAUSES = st.floats(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)


@given(st.lists(schedules(LONGEST_PAUSE_S), min_size=1, max_size=STEP_LIMIT // 2))
def test_what_is_printed_can_be_read_back(drawn: list[list[Step]]) -> None:
    """Text and schedule are the same thing, one of more than two steps too."""
    steps = [step for one in drawn for step in one]
    assert read_schedule(schedule_text(steps)) == steps


def test_a_schedule_is_read_as_a_person_types_it() -> None:
    """Spaces around the divider do not matter, and times are rounded to hundredths."""
    assert read_schedule(" kill parm-1 at 0.504 s ;pause lab for 3 s at 1 s ") == [
        Step(process="parm-1", kind="kill", at_s=0.5),
        Step(process="lab", kind="pause", at_s=1.0, duration_s=3.0),
    ]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "expected 'kill parm-1 at 0.5 s'"),
        ("kill parm-1", "expected 'kill parm-1 at 0.5 s'"),
        ("kill parm-1 at -1 s", "expected 'kill parm-1 at 0.5 s'"),
        ("kill parm-1 at 1e9 s", "expected 'kill parm-1 at 0.5 s'"),
        ("kill parm-1 for 1 s at 1 s", "expected 'kill parm-1 at 0.5 s'"),
        ("pause parm-1 at 1 s", "expected 'kill parm-1 at 0.5 s'"),
        ("stop parm-1 at 1 s", "expected 'kill parm-1 at 0.5 s'"),
        ("kill parm-1 at 1 s;", "expected 'kill parm-1 at 0.5 s'"),
        ("kill parm-2 at 1 s", "no process parm-2; there are emulator-1, "),
        ("restart lab at 1 s", "would end the run"),
        ("kill parm-1 at 61 s", "at most 60 s after the begin"),
        ("pause parm-1 for 0.1 s at 1 s", "pauses of 0.2 to 20 s"),
        ("pause parm-1 for 20.1 s at 1 s", "pauses of 0.2 to 20 s"),
        ("; ".join(["kill parm-1 at 1 s"] * 11), "at most 10 are played together"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, wrong: str) -> None:
    """It says what was found and what was expected."""
    with pytest.raises(SettingsError, match="--play") as refused:
        read_schedule(text)
    assert wrong in str(refused.value)


@given(st.data(), PAUSES)
def test_what_is_drawn_is_bounded(data: st.DataObject, longest_pause_s: float) -> None:
    """One or two steps by time against different processes, in whole hundredths of seconds, no pause longer than allowed."""
    steps = data.draw(schedules(longest_pause_s))
    assert len({step.process for step in steps}) == len(steps) <= 2
    assert steps == sorted(steps, key=lambda step: step.at_s)
    assert SHORTEST_LEAD_S <= steps[0].at_s <= LONGEST_LEAD_S
    assert steps[-1].at_s <= LONGEST_LEAD_S + LONGEST_GAP_S
    for step in steps:
        assert step.kind in KINDS_OF[step.process]
        assert step.at_s == round(step.at_s, 2)
        if step.kind == "pause":
            assert SHORTEST_PAUSE_S <= step.duration_s <= longest_pause_s + 0.005
        else:
            assert step.duration_s == 0


@given(st.integers(0), PAUSES)
def test_each_is_every_process_with_every_kind_once(root: int, longest_pause_s: float) -> None:
    """Nine processes are killed, paused and restarted, the lab's own is killed and paused; the seed decides on the order."""
    alone = each_alone(root, longest_pause_s)
    assert sorted((step.process, step.kind) for [step] in alone) == sorted(SINGLES)
    assert len(SINGLES) == 9 * 3 + 2
    assert alone == each_alone(root, longest_pause_s) != each_alone(root + 1, longest_pause_s)
    assert [read_schedule(schedule_text(steps)) for steps in alone] == alone
    assert all(step.duration_s <= longest_pause_s + 0.005 for [step] in alone)
