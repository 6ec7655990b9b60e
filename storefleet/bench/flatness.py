"""Whether a backlog is flat, by a rule (pure values in, a value out).

The backlog is what was committed less what the slower of the last views holds. Each count is read at the times of its
own snapshots, so their slopes are fitted apart and subtracted. A step is flat when the terminals committed at least
98 % of what was offered, and the backlog grew by less than 1 % of what was offered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

ACHIEVED_SHARE: Final = 0.98
GROWTH_SHARE: Final = 0.01
RULE: Final = "flat: committed >= 98 % of offered, backlog grows < 1 % of offered (least squares)"
LEAST_SNAPSHOTS: Final = 3


class Step(NamedTuple):
    """One offered rate and what came of it, in events a second; ``backlog`` is the mean number over the time."""

    offered: float
    achieved: float
    growth: float
    backlog: float

    @property
    def flat(self) -> bool:
        """By the rule of the module."""
        return self.achieved >= ACHIEVED_SHARE * self.offered and self.growth < GROWTH_SHARE * self.offered


def judge(
    offered: float, committed: Sequence[tuple[float, float]], views: Sequence[Sequence[tuple[float, float]]]
) -> Step | None:
    """The step, or None when there were too few snapshots to fit a line."""
    if any(len(series) < LEAST_SNAPSHOTS for series in (committed, *views)):
        return None
    achieved, level = fit(committed)
    growth, backlog = 0.0, 0.0
    middle_s = (committed[0][0] + committed[-1][0]) / 2
    for series in views:
        slope, intercept = fit(series)
        growth = max(growth, achieved - slope)
        backlog = max(backlog, (level + achieved * middle_s) - (intercept + slope * middle_s))
    return Step(offered, achieved, growth, backlog)


def fit(series: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and intercept of the line of least squares."""
    origin_s = series[0][0]
    times = [at_s - origin_s for at_s, _ in series]
    counts = [count for _, count in series]
    mean_s, mean = sum(times) / len(times), sum(counts) / len(counts)
    spread = sum((at_s - mean_s) ** 2 for at_s in times)
    slope = sum((at_s - mean_s) * (count - mean) for at_s, count in zip(times, counts, strict=True)) / spread
    return slope, mean - slope * (mean_s + origin_s)
