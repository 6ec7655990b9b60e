"""Latency: every chunk comes later, in order; when it is lifted everything goes at once (Toxiproxy's ``latency``)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from chaos.fault import End, Passage

_Milliseconds = Annotated[int, Meta(ge=0, le=600_000)]


class Latency(Struct, frozen=True, forbid_unknown_fields=True):
    """Delay of ``latency`` plus a uniform draw from [-jitter, +jitter), both in milliseconds."""

    latency: _Milliseconds = 0
    jitter: _Milliseconds = 0

    def apply(self, chunk: bytes, passage: Passage) -> None:
        """Later."""
        passage.forward(chunk, self._delay_s(passage))

    def apply_end(self, end: End, passage: Passage) -> None:
        """A FIN travels as long as data does."""
        passage.forward_end(end, self._delay_s(passage))

    def _delay_s(self, passage: Passage) -> float:
        jitter_ms = passage.random.uniform(-self.jitter, self.jitter) if self.jitter else 0.0
        return max(0.0, self.latency + jitter_ms) / 1000
