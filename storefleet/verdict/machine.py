"""When the machine stood still, and why: the arithmetic by which it excuses missed deadlines, and nothing else.

The machine stood still where the lab says so, which measures it by each of CAUSES. Processes of the pipeline that do not run
may be broken, stopped by a fault under test, or busy with themselves, and excuse nothing, however many they are: a machine
that stands still stops the lab as well. Only in a run folder that does not say what its lab measured, two of them at once
count as the machine. Each moment counts once, under the first of CAUSES that explains it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from msgspec import Struct, field

Cause = Literal["stopped", "cpu_steal", "disk_wait", "event_loop"]

CAUSES: Final[dict[Cause, str]] = {
    "stopped": "sleep",
    "cpu_steal": "CPU steal",
    "disk_wait": "disk wait",
    "event_loop": "event loop",
}
"""Cause -> its words. An event loop that did not run is a symptom, so it comes last."""

LAB_PROCESS: Final = "lab"
"""Under this name the lab notes what it measures itself."""


class Stall(Struct, frozen=True):
    """A time during which a process of ours did not run although it wanted to; unix milliseconds."""

    process: str
    at_ms: int
    duration_ms: float
    cause: Cause = "event_loop"


class ClockStep(Struct, frozen=True):
    """The host's clock was set, ahead or back; ``at_ms`` is what it showed when that was noticed, right afterwards."""

    at_ms: int
    step_ms: int


class MachineRecord(Struct, kw_only=True):
    """What the lab could measure of its machine: a cause that is not named was not measured.

    ``cpu_waited_ms``: so much of ``watched_ms`` some process of the machine waited for a CPU; None where nobody knows.
    """

    measured: list[Cause] = field(default_factory=list)
    watched_ms: int = 0
    cpu_waited_ms: int | None = None
    clock_steps: list[ClockStep] = field(default_factory=list)
    """How the host's clock moved against the run's while the lab watched; the first 100 times."""


class Span(NamedTuple):
    """The machine stood still, for one cause."""

    from_ms: float
    until_ms: float
    cause: Cause


class Standstill:
    """All spans in which the machine stood still, disjoint and ascending."""

    def __init__(self, stalls: Iterable[Stall], machine: MachineRecord | None = None) -> None:
        """``machine``: what the lab measured; None where nobody says."""
        self._spans = list(_spans(stall for stall in stalls if machine is None or stall.process == LAB_PROCESS))
        lengths = (span.until_ms - span.from_ms for span in self._spans)
        self._still_ms = list(accumulate(lengths, initial=0.0))
        """Before each span, how long the machine had stood still."""
        self._starts = [span.from_ms for span in self._spans]
        self._running_at = [span.from_ms - still for span, still in zip(self._spans, self._still_ms, strict=False)]
        """At each span, how long the machine had run."""

    def by_cause(self, from_ms: float = float("-inf"), until_ms: float = float("inf")) -> dict[Cause, float]:
        """Cause -> milliseconds within a time; a cause that has none is not there. Together they are the standstill."""
        found: dict[Cause, float] = {}
        for span in self._spans:
            length = min(span.until_ms, until_ms) - max(span.from_ms, from_ms)
            if length > 0:
                found[span.cause] = found.get(span.cause, 0.0) + length
        return {cause: round(ms, 1) for cause, ms in found.items()}

    def running_limit_ms(self, at_ms: float, deadline_ms: float) -> int:
        """The latest start from which, until ``at_ms``, the machine ran for the whole deadline."""
        target = self._ran_ms(at_ms) - deadline_ms
        return int(min(at_ms, target + self._still_ms[bisect_right(self._running_at, target)]))

    def _ran_ms(self, at_ms: float) -> float:
        """How long the machine had run by then; differences of it mean something."""
        index = bisect_right(self._starts, at_ms) - 1
        if index < 0:
            return at_ms
        return at_ms - self._still_ms[index] - min(at_ms, self._spans[index].until_ms) + self._starts[index]


def _spans(stalls: Iterable[Stall]) -> Iterator[Span]:
    changes: list[tuple[float, int, str, Cause]] = []
    for stall in stalls:
        begin_ms, end_ms = float(stall.at_ms), stall.at_ms + stall.duration_ms
        if end_ms > begin_ms:
            changes += ((begin_ms, 1, stall.process, stall.cause), (end_ms, -1, stall.process, stall.cause))
    causes: Counter[Cause] = Counter()
    others: Counter[str] = Counter()
    before_ms = 0.0
    for at_ms, change, process, cause in sorted(changes):
        standing = _standing(causes, others)
        if standing is not None and at_ms > before_ms:
            yield Span(before_ms, at_ms, standing)
        before_ms = at_ms
        if process == LAB_PROCESS:
            causes[cause] += change
        else:
            others[process] += change


def _standing(causes: Counter[Cause], others: Counter[str]) -> Cause | None:
    """Why the machine stands still while the lab says these causes and these other processes do not run."""
    for cause in CAUSES:
        if causes[cause]:
            return cause
    return "event_loop" if len(+others) > 1 else None


def total_ms(by_cause: dict[Cause, float]) -> float:
    """How long the machine stood still, by all causes."""
    return sum(by_cause.values())


def figures(by_cause: dict[Cause, float]) -> str:
    """The longest first, in milliseconds: ``event loop 900, disk wait 340``."""
    longest = sorted(by_cause.items(), key=lambda item: -item[1])
    return ", ".join(f"{CAUSES[cause]} {ms:,.0f}" for cause, ms in longest)
