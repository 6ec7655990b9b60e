"""Whom a delay is to be blamed on, where a process is known to have stood still meanwhile.

What a stage that stands still has not taken lies before it, so that by the witnesses alone its neighbour has it. But the
stage itself reports, once it runs again, for how long it did not. A stage that stands still at the place of the event, or
is the next to take it, is the place; where the hop proxies stand still, it is the hops there.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from storefleet.verdict.machine import LAB_PROCESS, Stall

HOPS_PROCESS: Final = "chaos"
Places = tuple[str, ...]
Leg = tuple[str, str]
"""The hop before a stage ('' for the first), and the stage."""


class HeldUp:
    """``culprit`` narrows an address down to who stood still there."""

    def __init__(self, stalls: Iterable[Stall]) -> None:
        stalls = [stall for stall in stalls if stall.process != LAB_PROCESS]
        changes = [(stall.at_ms, 1, _stage(stall)) for stall in stalls]
        changes += [(stall.at_ms + math.ceil(stall.duration_ms) + 1, -1, _stage(stall)) for stall in stalls]
        changes.sort()
        self._from_ms = [at_ms for at_ms, _, _ in changes]
        self._still: list[frozenset[str]] = []
        """From each of these moments on, the stages of which a process stood still."""
        count: Counter[str] = Counter()
        for _, change, stage in changes:
            count[stage] += change
            self._still.append(frozenset(+count))

    def culprit(self, address: Places, path: Sequence[Leg], at_ms: int) -> Places:
        """Who of this address, or the next behind it, stood still at that moment; the address where nobody did."""
        index = bisect_right(self._from_ms, at_ms) - 1
        still = self._still[index] if index >= 0 else frozenset[str]()
        if not still or not address:
            return address
        near = _near(address, [place for leg in path for place in leg if place])
        hops = {hop for hop, _ in path}
        stages = tuple(place for place in near if place in still)
        if stages:
            return stages
        return tuple(place for place in near if place in hops) if HOPS_PROCESS in still else address


def _stage(stall: Stall) -> str:
    return stall.process.rpartition("-")[0]


def _near(address: Places, places: list[str]) -> Places:
    """The address, and behind it the places up to the next stage; of a way that passes it twice, both."""
    near: dict[str, None] = dict.fromkeys(address)
    length = len(address)
    for start in range(len(places)):
        if tuple(places[start : start + length]) == address:
            last = start + length - 1
            behind = 1 if last % 2 else 2  # stages and hops take turns, from a stage on
            near.update(dict.fromkeys(places[last + 1 : last + 1 + behind]))
    return tuple(near)
