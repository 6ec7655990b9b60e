"""A log that only remembers what it was told."""

from __future__ import annotations


class Noted:
    """Give ``note`` to whoever keeps a log; ``rows`` are kind, who, text and time, as they came."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, int | None]] = []

    def note(self, kind: str, who: str = "", text: str = "", at_ms: int | None = None) -> None:
        """It happened."""
        self.rows.append((kind, who, text, at_ms))

    def told(self) -> list[tuple[str, str, str]]:
        """The same without times."""
        return [row[:3] for row in self.rows]
