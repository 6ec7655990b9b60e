"""Hypothesis draws the schedules: the same ones from the same seed, with the same versions of it and of this code.

It draws them afresh, and makes a failing one smaller when asked to. Every example costs seconds of a real lab, so it is
the caller who says when it is enough: then :class:`_Enough`, which Hypothesis does not take for a failure, ends its run
at once.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from storefleet.soak.schedule import (
    LONGEST_GAP_S,
    LONGEST_LEAD_S,
    SHORTEST_LEAD_S,
    SHORTEST_PAUSE_S,
    SINGLES,
    Step,
)

ROUND: Final = 10
"""So many examples are drawn in a row. Behind its first ten Hypothesis takes to variations of what it has drawn, which
find a bug in a function; here they killed the broker nine times in two minutes and PARM never."""
HUNDREDTHS: Final = 100


class _Enough(BaseException):
    """Ends Hypothesis: no further example is played."""


class _ScheduleFailed(Exception):
    """Tells Hypothesis that an example failed."""


def _seconds(shortest_s: float, longest_s: float) -> SearchStrategy[float]:
    """Whole hundredths of a second."""
    hundredths = st.integers(round(shortest_s * HUNDREDTHS), round(longest_s * HUNDREDTHS))
    return hundredths.map(lambda number: number / HUNDREDTHS)


@st.composite
def schedules(draw: DrawFn, longest_pause_s: float) -> list[Step]:
    """One step, or steps against two different processes, by time."""
    targets = [draw(st.sampled_from(SINGLES))]
    if draw(st.booleans()):
        targets.append(draw(st.sampled_from([target for target in SINGLES if target[0] != targets[0][0]])))
    at_s = draw(_seconds(SHORTEST_LEAD_S, LONGEST_LEAD_S))
    steps: list[Step] = []
    for process, kind in targets:
        if steps:
            at_s = round(at_s + draw(_seconds(0.0, LONGEST_GAP_S)), 2)
        duration_s = draw(_seconds(SHORTEST_PAUSE_S, longest_pause_s)) if kind == "pause" else 0.0
        steps.append(Step(process=process, kind=kind, at_s=at_s, duration_s=duration_s))
    return steps


def play_drawn(
    play: Callable[[list[Step]], bool],
    *,
    root: int,
    longest_pause_s: float,
    enough: Callable[[], bool],
    shrink: bool = False,
) -> None:
    """Let ``play`` (False: it failed) have one schedule of the seed ``root`` after the other until ``enough`` says so.

    ``shrink``: the first that fails is made smaller, and played again so, until it cannot be or it is enough; the last
    one that failed is the smallest. Whatever ``play`` raises passes through.
    """
    outcomes: dict[tuple[Step, ...], bool] = {}

    def went_well(steps: list[Step]) -> bool:
        """Each schedule is played once: a fault that hits once in a while would confuse who makes it smaller."""
        known = tuple(steps)
        if known not in outcomes:
            if enough():
                raise _Enough
            try:
                outcomes[known] = play(steps)
            except Exception as error:
                raise _Enough from error  # no example that failed
        return outcomes[known]

    try:
        for number in count():
            _draw_round(went_well, f"{root}/{number}", longest_pause_s, shrink=shrink)
    except _Enough as end:
        if end.__cause__ is not None:
            raise end.__cause__ from None
    except _ScheduleFailed:
        return


def _draw_round(went_well: Callable[[list[Step]], bool], root: str, longest_pause_s: float, *, shrink: bool) -> None:
    @seed(root)
    @settings(
        max_examples=ROUND,
        database=None,
        deadline=None,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    @given(schedules(longest_pause_s))
    def example(steps: list[Step]) -> None:
        if not went_well(steps) and shrink:
            raise _ScheduleFailed

    example()
