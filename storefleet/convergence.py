"""When did each view agree with the terminals again? Sans-io: fed with what the lab knows, tells what is still missing.

A view of events has recovered from a fault once it holds, with the right contents, every event that was committed when
the fault was lifted, and nothing that it must not; where nobody says what a view holds, once something proves that it has
had them. A view of registers has once every register equals what the terminals are. Trading may go on meanwhile. Times
have the resolution of the calls to ``observe``, which the lab makes every 100 ms while it waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from storefleet.contents import Comparison, Holdings

RESOLUTION_MS = 100


class Recovery:
    """One wait for all views, from ``healed_ms`` on."""

    def __init__(
        self,
        healed_ms: int,
        committed: Holdings,
        event_views: Mapping[str, Sequence[Holdings]],
        register_views: Collection[str],
        contents: Mapping[str, Comparison] | None = None,
    ) -> None:
        """``event_views``: view -> everything that proves what it has had; ``contents``: what says what it holds now.

        For a view that is in both, ``contents`` decides whether, and the evidence when: to read a view takes time.
        """
        self.healed_ms = healed_ms
        self.converged_ms: dict[str, int] = {}
        self.contents = dict(contents or {})
        self.views = frozenset(event_views) | frozenset(register_views) | self.contents.keys()
        self._registers_off: Mapping[str, int] = {}
        self._unknown: Mapping[str, str] = {}
        self._evidence = dict(event_views)
        self._proven_ms: dict[str, int] = {}
        """When the evidence was whole."""
        self._committed = {source: numbers.copy() for source, numbers in committed.items()}
        self._missing = {view: dict(self._committed) for view in event_views}

    def observe(
        self,
        now_ms: int,
        rejected: Holdings,
        register_distance: Mapping[str, int],
        unknown: Mapping[str, str] | None = None,
    ) -> bool:
        """Look at the newest evidence; True when every view has recovered.

        ``unknown``: views of which it is not known what they hold now -> why. The ledger was read after they were heard.
        """
        self._registers_off, self._unknown = register_distance, unknown or {}
        for view in self._evidence.keys() - self._proven_ms.keys():
            if self._caught_up(view, rejected):
                self._proven_ms[view] = now_ms
        for view in self.views - self.converged_ms.keys():
            if self._recovered(view):
                self.converged_ms[view] = self._proven_ms.get(view, now_ms)
        return len(self.converged_ms) == len(self.views)

    def _recovered(self, view: str) -> bool:
        if view in self._unknown:
            return False
        if view in self.contents:
            self.contents[view].look()
            return self.contents[view].agrees(self._committed)
        return view in self._proven_ms if view in self._evidence else not self._registers_off[view]

    def believe(self, views: Collection[str]) -> None:
        """What could not be read in time: the evidence decides by itself, and the final read says what is held."""
        for view in (self._proven_ms.keys() & set(views)) - self.converged_ms.keys():
            self.converged_ms[view] = self._proven_ms[view]

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
        """How many events a view of events has not had, by the evidence."""
        return sum(numbers.count for numbers in self._missing.get(view, {}).values())

    @property
    def unknown(self) -> frozenset[str]:
        """Views of which it was not known at the last look what they hold."""
        return frozenset(self._unknown) - self.converged_ms.keys()

    def lacking(self) -> str:
        """What stands between the views and their recovery, as of the last look, in words; empty when nothing does."""
        return "; ".join(self._why_not(view) for view in sorted(self.views - self.converged_ms.keys()))

    def _why_not(self, view: str) -> str:
        if view in self._unknown:
            return f"{view}: {self._unknown[view]}"
        if view in self.contents:
            shortfall = self.contents[view].shortfall(self._committed)
            return f"{view} {shortfall}" if shortfall.lacks else f"{view}: {shortfall}"
        if view in self._evidence:
            return f"{view} lacks {self.missing(view):,} events"
        count = self._registers_off.get(view, 0)
        return f"{view}: {count:,} register{'' if count == 1 else 's'} off"
