"""When did each view agree with the terminals again? Sans-io: fed with what the lab knows, tells what is still missing.

A view has recovered from a fault once it holds every event that was committed when the fault was lifted and, for a view
of registers, once every register equals what the terminals are. Trading may go on meanwhile. Times have the resolution of
the calls to ``observe``, which the lab makes every 100 ms while it waits.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleetwire.intervals import IntervalSet

RESOLUTION_MS = 100


class Recovery:
    """One wait for all views, from ``healed_ms`` on."""

    def __init__(self, healed_ms: int, committed: Mapping[str, IntervalSet], views: Mapping[str, str]) -> None:
        """``views``: name -> stage whose witness counts its events, or '' for a view of registers."""
        self.healed_ms = healed_ms
        self.converged_ms: dict[str, int] = {}
        self._stage_of = dict(views)
        self.views = frozenset(views)
        self._missing = {
            view: {source: numbers.copy() for source, numbers in committed.items()}
            for view, stage in views.items()
            if stage
        }

    def observe(
        self,
        now_ms: int,
        taken: Mapping[str, Mapping[str, IntervalSet]],
        rejected: Mapping[str, IntervalSet],
        register_distance: Mapping[str, int],
    ) -> bool:
        """Take the newest unions; True when every view has recovered."""
        for view, stage in self._stage_of.items():
            if view in self.converged_ms:
                continue
            done = self._caught_up(view, taken.get(stage, {}), rejected) if stage else not register_distance.get(view)
            if done:
                self.converged_ms[view] = now_ms
        return len(self.converged_ms) == len(self._stage_of)

    def _caught_up(
        self, view: str, taken: Mapping[str, IntervalSet], rejected: Mapping[str, IntervalSet]
    ) -> bool:
        missing = self._missing[view]
        nothing = IntervalSet()
        for source in list(missing):
            left = missing[source].difference(taken.get(source, nothing)).difference(rejected.get(source, nothing))
            if left:
                missing[source] = left
            else:
                del missing[source]
        return not missing

    def missing(self, view: str) -> int:
        """How many events a view still lacks."""
        return sum(numbers.count for numbers in self._missing.get(view, {}).values())
