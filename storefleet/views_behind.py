"""Tells the log when a view is behind the tills, and when it is back. Sans-io.

While a lab trades something is always under way, so no number of missing events says that a view is behind. It is when
the same event, or any register, has been off for BEHIND_AFTER_MS; and back when nothing has been for so long.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from storefleet.run_log import Note

BEHIND_AFTER_MS: Final = 2_000

Marks = Set[Hashable]
"""What is off in a view, each by a name that it keeps while it is off."""


class Distance(NamedTuple):
    """How far a view is from the truth: what is off, and how much it is in all."""

    marks: Marks
    away: int


@dataclass(slots=True)
class _View:
    since_ms: dict[Hashable, int] = field(default_factory=dict)
    behind_since_ms: int = 0
    """0: it is not behind."""
    most_away: int = 0


class ViewsBehind:
    """``look`` at the views about once a second."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._views: dict[str, _View] = {}

    def look(self, now_ms: int, distances: Mapping[str, Distance]) -> None:
        """How far each view is now."""
        for name, distance in distances.items():
            view = self._views.setdefault(name, _View())
            view.since_ms = {mark: view.since_ms.get(mark, now_ms) for mark in distance.marks}
            oldest_ms = min(view.since_ms.values(), default=now_ms)
            if now_ms - oldest_ms >= BEHIND_AFTER_MS:
                self._is_behind(name, view, oldest_ms, distance.away, now_ms)
            elif view.behind_since_ms:
                self._is_back(name, view, now_ms)

    def _is_behind(self, name: str, view: _View, oldest_ms: int, away: int, now_ms: int) -> None:
        view.most_away = max(view.most_away, away)
        if not view.behind_since_ms:
            view.behind_since_ms = oldest_ms
            self._note("view_behind", name, f"{away:,} off the truth, for {(now_ms - oldest_ms) / 1000:.1f} s", now_ms)

    def _is_back(self, name: str, view: _View, now_ms: int) -> None:
        lasted_s = (now_ms - view.behind_since_ms) / 1000
        self._note("view_back", name, f"after {lasted_s:.1f} s, at most {view.most_away:,} off the truth", now_ms)
        view.behind_since_ms = view.most_away = 0
