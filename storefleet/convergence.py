"""When did each view agree with the terminals again? Sans-io: fed with what the lab knows, tells what is still missing.

A view of events has recovered from a fault once it holds every event that was committed when the fault was lifted; a view
of registers, once every register equals what the terminals are. Trading may go on meanwhile. Times have the resolution of
the calls to ``observe``, which the lab makes every 100 ms while it waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fleetwire.intervals import IntervalSet

RESOLUTION_MS = 100

Holdings = Mapping[str, IntervalSet]
"""Source -> the events of it that are held; it may grow while it is used."""


class Recovery:
    """One wait for all views, from ``healed_ms`` on."""

    def __init__(
        self,
        healed_ms: int,
        committed: Holdings,
        event_views: Mapping[str, Sequence[Holdings]],
        register_views: Collection[str],
    ) -> None:
        """``event_views``: view -> everything that proves what it holds."""
        self.healed_ms = healed_ms
        self.converged_ms: dict[str, int] = {}
        self.views = frozenset(event_views) | frozenset(register_views)
        self._evidence = dict(event_views)
        self._missing = {
            view: {source: numbers.copy() for source, numbers in committed.items()} for view in event_views
        }

    def observe(self, now_ms: int, rejected: Holdings, register_distance: Mapping[str, int]) -> bool:
        """Look at the newest evidence; True when every view has recovered."""
        for view in self.views - self.converged_ms.keys():
            recovered = self._caught_up(view, rejected) if view in self._evidence else not register_distance[view]
            if recovered:
                self.converged_ms[view] = now_ms
        return len(self.converged_ms) == len(self.views)

    def _caught_up(self, view: str, rejected: Holdings) -> bool:
        missing = self._missing[view]
        for source in list(missing):
            left = missing[source]
            for held in (*self._evidence[view], rejected):
                if source in held:
                    left = left.difference(held[source])
            if left:
                missing[source] = left
            else:
                del missing[source]
        return not missing

    def missing(self, view: str) -> int:
        """How many events a view still lacks."""
        return sum(numbers.count for numbers in self._missing.get(view, {}).values())
