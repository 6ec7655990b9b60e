"""Down: the hop closes every link and refuses new connections until it is lifted (Toxiproxy's ``enabled: false``)."""

from __future__ import annotations

from msgspec import Struct

from chaos.fault import Passage


class Down(Struct, frozen=True, forbid_unknown_fields=True):
    """No attributes; it takes the whole hop, whatever its toxicity."""

    @property
    def closes_hop(self) -> bool:
        """Always."""
        return True

    def apply(self, chunk: bytes, passage: Passage) -> None:
        """A link that is about to close loses what still arrives."""
        passage.drop(chunk)
