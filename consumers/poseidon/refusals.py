"""What Poseidon could not apply: a dead letter each, and the word ``rejected`` for the terminal, now and when it asks.

The durable record is the table ``skipped`` of the fold's file; a letter that the broker does not have yet is posted
again after a restart. A key that is applied is never rejected: what conflicts with it is another content. At most
MAXIMUM_SKIPPED_ROWS letters are under way at once, and as many reasons remembered: beyond them a terminal is told once,
not when it asks.
"""

from __future__ import annotations

from typing import Any

from consumers.feed.fold_file import MAXIMUM_SKIPPED_ROWS, FoldFile
from consumers.feed.lines import Unusable
from fleetwire.dead_letters import DeadLetter, DeadLetterOffice
from fleetwire.errors import BadPayload
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet

CONFLICT = "key_conflict"


class Refusals:
    """``reasons`` is what asks are answered with: source -> sequence -> reason."""

    def __init__(self, dead_letters: DeadLetterOffice, applied: dict[str, IntervalSet]) -> None:
        self.reasons: dict[str, dict[int, str]] = {}
        self._dead_letters = dead_letters
        self._applied = applied
        self._file: FoldFile[Any] | None = None
        self._remembered = 0
        self._under_way: set[Unusable] = set()

    def resume(self, file: FoldFile[Any]) -> None:
        """Remember what was skipped before, and post what nobody was told of yet."""
        self._file = file
        for skip in file.skips(untold=False):
            self._remember(skip)
        for skip in file.skips(untold=True):
            self._post(skip)

    def refuse(self, skip: Unusable) -> None:
        """A document has just been skipped, durably."""
        self._remember(skip)
        self._post(skip)

    def _remember(self, skip: Unusable) -> None:
        key = self._rejected_key(skip)
        if key is None:
            return
        known = self.reasons.get(key.source, {})
        if key.sequence not in known:
            if self._remembered >= MAXIMUM_SKIPPED_ROWS:
                return
            self._remembered += 1
        self.reasons.setdefault(key.source, known)[key.sequence] = skip.reason

    def _post(self, skip: Unusable) -> None:
        if skip in self._under_way:
            return
        letter = DeadLetter(
            reason=skip.reason,
            detail=f"{_name(skip)}: {skip.detail}",
            topic="",
            payload=skip.line,
            key=_key(skip),
            tell_terminal=self._rejected_key(skip) is not None,
        )
        if len(self._under_way) >= MAXIMUM_SKIPPED_ROWS:
            self._dead_letters.post_aside(letter)
            return
        self._under_way.add(skip)
        self._dead_letters.post(letter, lambda: self._told(skip))

    def _told(self, skip: Unusable) -> None:
        self._under_way.discard(skip)
        if self._file is not None:
            self._file.told(skip)

    def _rejected_key(self, skip: Unusable) -> Key | None:
        key = _key(skip)
        if key is None or skip.reason == CONFLICT or key.sequence in self._applied.get(key.source, ()):
            return None
        return key


def _name(skip: Unusable) -> str:
    return f"document {skip.id}" if skip.id else f"line {skip.revision} of the feed, which names no document"


def _key(skip: Unusable) -> Key | None:
    try:
        return Key.parse(skip.id)
    except BadPayload:
        return None
