"""What a benchmark found, as values: the JSON that ``storefleet bench --json`` prints, and what the table shows.

A figure that cannot be trusted has no number but a ``note`` that says why; nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final, Literal

from msgspec import Struct, field

REPORT_FORMAT: Final = 1

Status = Literal["measured", "skipped", "void", "stopped"]


class Spread(Struct, frozen=True, kw_only=True):
    """A ratio of ours to the baseline: the median of so many pairs, and how far they lie apart."""

    median: float
    minimum: float
    maximum: float
    pairs: int


class Goal(Struct, frozen=True, kw_only=True):
    """A number to reach: by ``ours`` or by the median ``ratio``; ``now`` and ``design`` may be absent."""

    by: Literal["ours", "ratio"]
    bound: Literal["at_least", "at_most"]
    now: float | None = None
    design: float | None = None


class Figure(Struct, kw_only=True):
    """One measurement. ``details`` are further numbers, by name with unit, that belong to it."""

    name: str
    """For programs; goals are found by it."""
    what: str
    shape: str
    unit: str
    ours: float | None = None
    lower_bound: bool = False
    """Nothing larger was tried: it may be more than ``ours``."""
    baseline_name: str = ""
    baseline: float | None = None
    ratio: Spread | None = None
    goal: Goal | None = None
    note: str = ""
    details: dict[str, float] = field(default_factory=dict)

    def reaches(self, wanted: float | None) -> bool | None:
        """Whether a goal's number is reached; None when there is no such number or nothing to compare."""
        goal = self.goal
        if goal is None or wanted is None:
            return None
        found = self.ours if goal.by == "ours" else (self.ratio.median if self.ratio is not None else None)
        if found is None:
            return None
        if goal.bound == "at_most":
            return found <= wanted
        return True if found >= wanted else None if self.lower_bound else False


class PartReport(Struct, kw_only=True):
    """One part of the benchmark: ``reason`` says why it was not measured, or not wholly."""

    part: str
    status: Status
    duration_s: float
    reason: str = ""
    figures: list[Figure] = field(default_factory=list)


class Machine(Struct, kw_only=True, frozen=True):
    """Where it ran."""

    system: str
    cores: int
    python: str
    mosquitto: str
    load_average: float
    """Over the last minute, at the start."""


class Report(Struct, kw_only=True):
    """The whole benchmark; ``format`` grows by one when a reader of an older one would read it wrongly."""

    format: int = REPORT_FORMAT
    quick: bool
    started_at_ms: int
    machine: Machine
    cautions: list[str] = field(default_factory=list)
    parts: list[PartReport] = field(default_factory=list)


def spread(ours: Sequence[float], baseline: Sequence[float]) -> Spread | None:
    """The ratios of interleaved pairs; None when there is no pair, or a baseline of nothing."""
    ratios = [own / other for own, other in zip(ours, baseline, strict=True) if other > 0]
    if not ratios:
        return None
    return Spread(
        median=round(median(ratios), 4),
        minimum=round(min(ratios), 4),
        maximum=round(max(ratios), 4),
        pairs=len(ratios),
    )


def percentile(ascending: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the sorted values lie: the nearest rank, never an invented value."""
    if not ascending:
        raise ValueError("no values, no percentile")
    return ascending[min(len(ascending) - 1, max(0, -int(-share * len(ascending) // 1) - 1))]
