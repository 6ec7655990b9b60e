"""The fault that does nothing. Every chain begins with it, so that a bare hop and a broken one are one code path."""

from __future__ import annotations

from msgspec import Struct

from chaos.fault import Passage


class Noop(Struct, frozen=True, forbid_unknown_fields=True):
    """No attributes."""

    def apply(self, chunk: bytes, passage: Passage) -> None:
        """Everything passes."""
        passage.forward(chunk)
