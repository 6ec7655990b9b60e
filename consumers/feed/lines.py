"""The bytes of a continuous changes feed as values (sans-io): lines of bounded length, each a change, mark or unusable.

Sequences are opaque texts (couchbase.md 2.2): kept and handed back as they came, never compared or counted with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

MAXIMUM_LINE_BYTES: Final = 4 * 1024 * 1024
MAXIMUM_TEXT: Final = 250
KEPT_BYTES: Final = 2_048
DETAIL_CHARACTERS: Final = 300


class Change(NamedTuple):
    """One entry of the feed; ``document`` is the JSON of the current revision, ``_id`` and ``_rev`` included."""

    sequence: str
    id: str
    revision: str
    deleted: bool
    document: bytes


class Mark(NamedTuple):
    """A line that only says how far the feed is; ``sequence`` "" says nothing but that the reader is up to date."""

    sequence: str


class Unusable(NamedTuple):
    """What could not be used, and why; ``line`` is its beginning. ``sequence`` is "" where it cannot be known."""

    sequence: str
    id: str
    revision: str
    reason: str
    detail: str
    line: bytes


Entry = Change | Mark | Unusable


class _Revision(Struct, gc=False):
    rev: str


class _Line(Struct, gc=False):
    seq: int | str = ""
    id: str = ""
    changes: list[_Revision] = []
    deleted: bool = False
    doc: Raw | UnsetType = UNSET
    last_seq: int | str = ""


_decode = msgspec.json.Decoder(_Line).decode
_CAUGHT_UP: Final = Mark("")


class LineSplitter:
    """Cuts a stream into lines without their ends; holds at most ``limit`` bytes of an unfinished one.

    A longer line is dropped to its end and counted in ``oversized``, so that it costs memory once, not for ever.
    """

    def __init__(self, limit: int = MAXIMUM_LINE_BYTES) -> None:
        self.oversized = 0
        self._limit = limit
        self._pieces: list[bytes] = []
        self._held = 0
        self._dropping = False

    def split(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes; ``\\r`` before the end is no part of a line."""
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines:
            lines[0] = self._complete(lines[0])
            if self._dropping or len(max(lines, key=len)) > self._limit:
                lines = self._without_oversized(lines)
        self._hold(rest)
        return lines

    def _complete(self, end: bytes) -> bytes:
        if not self._pieces:
            return end
        self._pieces.append(end)
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return line

    def _without_oversized(self, lines: list[bytes]) -> list[bytes]:
        if self._dropping:
            self._dropping = False
            lines = lines[1:]
        kept = [line for line in lines if len(line) <= self._limit]
        self.oversized += len(lines) - len(kept)
        return kept

    def _hold(self, rest: bytes) -> None:
        if self._dropping or not rest:
            return
        self._pieces.append(rest)
        self._held += len(rest)
        if self._held > self._limit:
            self._pieces.clear()
            self._held = 0
            self._dropping = True
            self.oversized += 1


def read_line(line: bytes) -> Entry:
    """What a line says; never raises. Pseudo entries of Sync Gateway (ids with ``_`` in front) are marks."""
    if not line or line.isspace():
        return _CAUGHT_UP
    try:
        entry = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = "schema" if isinstance(error, msgspec.ValidationError) else "malformed_json"
        return Unusable("", "", "", reason, str(error)[:DETAIL_CHARACTERS], line[:KEPT_BYTES])
    sequence = str(entry.seq)
    if not entry.id and not sequence and entry.last_seq:
        return Mark(str(entry.last_seq)[:MAXIMUM_TEXT])
    if fault := _fault(entry, sequence):
        return Unusable(sequence[:MAXIMUM_TEXT], entry.id[:MAXIMUM_TEXT], "", "schema", fault, line[:KEPT_BYTES])
    if entry.id[0] == "_":
        return Mark(sequence)
    document = b"" if entry.doc is UNSET else bytes(entry.doc)
    return Change(sequence, entry.id, entry.changes[0].rev, entry.deleted, document)


def _fault(entry: _Line, sequence: str) -> str:
    if not sequence or not entry.id:
        return "a line of the feed without seq or id"
    if len(sequence) > MAXIMUM_TEXT or len(entry.id) > MAXIMUM_TEXT:
        return f"seq or id of a feed line is longer than {MAXIMUM_TEXT} characters"
    if entry.id[0] == "_":
        return ""
    if not entry.changes or len(entry.changes[0].rev) > MAXIMUM_TEXT:
        return "a line of the feed without a usable revision"
    if entry.doc is UNSET and not entry.deleted:
        return "a line of the feed without its document, though include_docs was asked for"
    return ""


def unusable(change: Change, reason: str, detail: str) -> Unusable:
    """The change as something that could not be used."""
    return Unusable(
        change.sequence, change.id, change.revision, reason, detail[:DETAIL_CHARACTERS], change.document[:KEPT_BYTES]
    )


def last_sequence(entries: Sequence[Entry]) -> str:
    """The checkpoint behind these entries: the last sequence that one of them names, "" when none does."""
    return next((entry.sequence for entry in reversed(entries) if entry.sequence), "")
