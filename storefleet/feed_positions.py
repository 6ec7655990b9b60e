"""What the gateway held and a view's feed had not come to when the view was read: missing there, it is not lost yet.

A view is known by the position of its feed before it was read, so what lies at or before it was read, or is lost. Without
a position that is a plain number (somebody else's gateway) nothing is said of the view.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from fleetwire.identity import Key
from fleetwire.intervals import Interval, IntervalSet


def read_positions(answer: Mapping[str, Any]) -> dict[str, int]:
    """View -> how far its feed was before the final read, of the views where a stage's answer says so plainly."""
    told = answer.get("positions", {})
    return {view: int(text) for view, text in told.items() if isinstance(text, str) and text.isdecimal()}


class Unreached:
    """Fed with every document of the gateway; ``sets`` are, by view and source, what lies behind the view's position."""

    def __init__(self, positions: Mapping[str, int]) -> None:
        self._positions = positions
        self._sets: dict[str, dict[str, IntervalSet]] = {view: defaultdict(IntervalSet) for view in positions}

    def look(self, key: Key, position: object) -> None:
        """One document and its place in the feed."""
        if not isinstance(position, int):
            self._positions, self._sets = {}, {}
            return
        for view, reached in self._positions.items():
            if position > reached:
                self._sets[view][key.source].add(key.sequence)

    def of(self, view: str) -> dict[str, list[Interval]] | None:
        """Source -> numbers; None for a view whose position is not known."""
        sets = self._sets.get(view)
        return None if sets is None else {source: numbers.to_list() for source, numbers in sets.items()}
