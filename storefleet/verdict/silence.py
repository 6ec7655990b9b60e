"""What a stage's numbered reports say by not naming a source: nothing changed there until then. Sans-io.

A report that follows the one before in number lost nothing on the way, so that its silence on a source is a proof. After a
gap only what has been named since is known. Of a long silence only its end is told: whatever its middle proves, its end
proves as well.
"""

from __future__ import annotations


class Silence:
    """Fed with every report of a stage with one instance, in their order; tells until when which sources were silent."""

    def __init__(self, sources: set[str]) -> None:
        """``sources``: those that anybody asks for."""
        self._sources = sources
        self._incarnation: int | None = None
        self._number = 0
        self._at_ms = 0
        self._whole = False
        """No report of this incarnation is missing."""
        self._named: set[str] = set()
        """Since the last gap."""
        self._told: set[str] = set()
        """Of these the newest report itself tells."""

    def broken_by(self, incarnation: int, number: int, at_ms: int, named: set[str]) -> tuple[int, set[str]]:
        """A report: (the time of the one before, sources that were silent until then and are told of now)."""
        silent: set[str] = set()
        before_ms = self._at_ms
        if incarnation != self._incarnation:
            silent = self._silent()
            self._incarnation, self._whole, self._named = incarnation, number == 1, set()
        elif number and number == self._number + 1:
            silent = self._silent() & named
        else:
            self._whole, self._named = False, set()
        self._named |= named
        self._told = named
        self._number, self._at_ms = number, at_ms
        return before_ms, silent

    def at_the_end(self) -> tuple[int, set[str]]:
        """No report follows: (the time of the last one, sources that were silent until then)."""
        return self._at_ms, self._silent()

    def _silent(self) -> set[str]:
        return (self._sources if self._whole else self._named & self._sources) - self._told
