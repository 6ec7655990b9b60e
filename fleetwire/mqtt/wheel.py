"""A timer wheel: thousands of deadlines in one process, one list entry each, and no timer of the loop's own.

Each entry has one deadline; setting another replaces it. Resolution is one tick, and never early.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Something that keeps the number of the tick in which it is due; 0 when it waits for nothing."""

    due_tick: int


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """Deadlines by tick of ``tick_s`` seconds; an entry whose ``due_tick`` has changed is stale and skipped."""

    def __init__(self, tick_s: float, now_s: float) -> None:
        self.tick_s = tick_s
        self._buckets: dict[int, list[T]] = {}
        self._past = math.floor(now_s / tick_s)

    def set(self, entry: T, due_s: float) -> None:
        """Make ``entry`` due at ``due_s``, at the next tick when that is past already."""
        tick = max(math.ceil(due_s / self.tick_s), self._past + 1)
        if tick != entry.due_tick:
            entry.due_tick = tick
            self._buckets.setdefault(tick, []).append(entry)

    def clear(self, entry: T) -> None:
        """Make ``entry`` wait for nothing."""
        entry.due_tick = 0

    def due(self, now_s: float) -> Iterator[T]:
        """Everything that has become due, each once; entries may be set again meanwhile."""
        current = math.floor(now_s / self.tick_s)
        if current - self._past > len(self._buckets):
            ticks = sorted(tick for tick in self._buckets if tick <= current)
        else:
            ticks = list(range(self._past + 1, current + 1))
        self._past = max(self._past, current)
        for tick in ticks:
            for entry in self._buckets.pop(tick, ()):
                if entry.due_tick == tick:
                    entry.due_tick = 0
                    yield entry
