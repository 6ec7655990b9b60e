"""Whom a delay is to be blamed on, where a process is known to have stood still meanwhile.

What a stage that stands still has not taken lies before it, so that by the witnesses alone its neighbour has it. But the
stage itself reports, once it runs again, for how long it did not. A stage that stands still at the place of the event, or
is the next to take it, is the place; where the hop proxies stand still, it is the hops there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from storefleet.verdict.machine import LAB_PROCESS, Stall

HOPS_PROCESS: Final = "chaos"
STEP_MS: Final = 100
Places = tuple[str, ...]
Leg = tuple[str, str]
"""The hop before a stage ('' for the first), and the stage."""


class HeldUp:
    """``culprit`` narrows an address down to who stood still there."""

    def __init__(self, stalls: Iterable[Stall]) -> None:
        self._stalls = [
            (stall.at_ms, stall.at_ms + stall.duration_ms, stall.process.rpartition("-")[0])
            for stall in stalls
            if stall.process != LAB_PROCESS
        ]
        self._known: dict[int, frozenset[str]] = {}

    def culprit(self, address: Places, path: Sequence[Leg], at_ms: int) -> Places:
        """Who of this address, or the next behind it, stood still at that moment; the address where nobody did."""
        still = self._still(at_ms)
        if not still or not address:
            return address
        near = _near(address, [place for leg in path for place in leg if place])
        hops = {hop for hop, _ in path}
        stages = tuple(place for place in near if place in still)
        if stages:
            return stages
        return tuple(place for place in near if place in hops) if HOPS_PROCESS in still else address

    def _still(self, at_ms: int) -> frozenset[str]:
        """The stages of which a process stood still at that moment."""
        step = at_ms // STEP_MS
        if step not in self._known:
            self._known[step] = frozenset(
                stage for from_ms, until_ms, stage in self._stalls if from_ms <= at_ms <= until_ms
            )
        return self._known[step]


def _near(address: Places, places: list[str]) -> Places:
    """The address, and behind it the places up to the next stage."""
    length = len(address)
    begins = (start for start in range(len(places)) if tuple(places[start : start + length]) == address)
    start = next(begins, None)
    if start is None:
        return address
    last = start + length - 1
    behind = 1 if last % 2 else 2  # stages and hops take turns, from a stage on
    return tuple(places[start : last + 1 + behind])
