"""How often something that bears no key named each source; bounded, since anybody may name anybody."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from fleetwire.canonical_message import claimed_source
from fleetwire.identity import MAXIMUM_ID_CHARACTERS

SOURCES: Final = 1_000
"""So many are counted by name; the others together, under ''."""


class NamesBorne:
    """``counts``: source -> how many named it, or ''."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def look(self, document: bytes) -> None:
        """A document, under the source that it claims; one that claims none is nobody's."""
        if name := claimed_source(document):
            self.note([name])

    def note(self, names: Collection[str]) -> None:
        """One more, under each of its names."""
        for name in {name[:MAXIMUM_ID_CHARACTERS] for name in names}:
            known = name if name in self.counts or len(self.counts) < SOURCES else ""
            self.counts[known] = self.counts.get(known, 0) + 1
