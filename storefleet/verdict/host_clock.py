"""The host's clock was set during the run: what its times say by the run's own clock, which never jumps.

Terminals, stages and views stamp by the host's clock; the lab notes by its own when it is calm, and each step of the host's
clock with its moment. What was stamped between two steps is off by the sum of the steps before. A clock that is set back
shows some times twice; such a time may be either, and of two that follow one another, as an application its commit, the
shortest way from one to the other counts: nobody is late by a time of which it is not known when it was.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from storefleet.verdict.machine import ClockStep

NOTICED_MS: Final = 1_000
"""A step is noticed at most so long after it was done."""
SMALLEST_STEP_MS: Final = 200
"""A smaller step is not noted, and changes no deadline; so nothing follows from times that are so far out of order."""


class HostClock:
    """Translates the host's times into the run's; without steps there is nothing to translate."""

    def __init__(self, steps: Iterable[ClockStep]) -> None:
        self._eras: list[tuple[float, float, int]] = []
        """From when until when, by the host's clock, and how far that was ahead of the run's."""
        from_ms, ahead_ms = float("-inf"), 0
        for step in steps:
            self._eras.append((from_ms, step.at_ms - step.step_ms + NOTICED_MS, ahead_ms))
            from_ms, ahead_ms = step.at_ms - NOTICED_MS, ahead_ms + step.step_ms
        self._eras.append((from_ms, float("inf"), ahead_ms))

    @property
    def was_set(self) -> bool:
        """Whether there is anything to translate."""
        return len(self._eras) > 1

    def earliest_ms(self, host_ms: int) -> int:
        """The first moment at which the host's clock may have shown this."""
        return min(self._moments(host_ms), default=host_ms)

    def latest_ms(self, host_ms: int) -> int:
        """The last moment at which the host's clock may have shown this."""
        return max(self._moments(host_ms), default=host_ms)

    def rising(self, times_ms: Iterable[int]) -> array[int]:
        """When times that followed one another were shown, at the latest."""
        return array("q", accumulate(map(self.latest_ms, times_ms), max))

    def pairs(self, before: Sequence[int], after: Sequence[int]) -> tuple[array[int], array[int]]:
        """Two rows of times of which each of the second followed that of the first, with the shortest way between."""
        found = list(map(self._pair, before, after))
        return array("q", (first for first, _ in found)), array("q", (second for _, second in found))

    def _pair(self, before_ms: int, after_ms: int) -> tuple[int, int]:
        ways = [(first, second) for first in self._moments(before_ms) for second in self._moments(after_ms)]
        forwards = [way for way in ways if way[1] - way[0] >= -SMALLEST_STEP_MS]
        usual = (before_ms, after_ms)  # of a time that this clock never showed no step is taken away
        return min(forwards or ways, key=lambda way: (way[1] - way[0], way), default=usual)

    def _moments(self, host_ms: int) -> Iterator[int]:
        for from_ms, until_ms, ahead_ms in self._eras:
            if from_ms <= host_ms <= until_ms:
                yield host_ms - ahead_ms
