"""The bytes of a continuous changes feed as values (sans-io): lines of bounded length, each a change, mark or unusable.

Sequences are opaque texts (couchbase.md 2.2): kept and handed back as they came, never compared or counted with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from fleetwire import bounded_json

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


class CutLine(NamedTuple):
    """A line that is longer than ``limit`` bytes: all that is kept of it is its beginning."""

    beginning: bytes
    limit: int


Line = bytes | CutLine


class _Revision(Struct, gc=False):
    rev: str


class _Line(Struct, gc=False):
    seq: int | str = ""
    id: str = ""
    changes: list[_Revision] = []
    deleted: bool = False
    doc: Raw | UnsetType = UNSET
    last_seq: int | str = ""


_decode = bounded_json.Decoder(_Line).decode
_decode_word: Final[Callable[[bytes], int | str]] = bounded_json.Decoder(int | str).decode
_WORD: Final = rb'"(?:[^"\\]|\\.)*"'
_BEGINNING: Final = re.compile(rb'\s*\{\s*"seq"\s*:\s*(\d+|%b)\s*,\s*"id"\s*:\s*(%b)' % (_WORD, _WORD))
"""How every gateway begins a line."""
_CAUGHT_UP: Final = Mark("")


class LineSplitter:
    """Cuts a stream into lines without their ends; holds at most ``limit`` bytes of an unfinished one.

    A longer line is given out as a CutLine as soon as it is known for one, and the rest of it dropped.
    """

    def __init__(self, limit: int = MAXIMUM_LINE_BYTES) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._held = 0
        self._dropping = False

    def split(self, chunk: bytes) -> Sequence[Line]:
        """The lines that this chunk completes or makes too long; a ``\\r`` before the end stays: JSON does not mind it."""
        lines = chunk.split(b"\n")
        rest = lines.pop()
        result: Sequence[Line] = lines
        if lines:
            lines[0] = self._complete(lines[0])
            if self._dropping or len(max(lines, key=len)) > self._limit:
                result = self._cut(lines)
        self._hold(rest)
        if self._held > self._limit:
            self._dropping = True
            result = [*result, CutLine(self._complete(b"")[:KEPT_BYTES], self._limit)]
        return result

    def _complete(self, end: bytes) -> bytes:
        if not self._pieces:
            return end
        self._pieces.append(end)
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return line

    def _cut(self, lines: list[bytes]) -> list[Line]:
        if self._dropping:
            self._dropping = False
            lines = lines[1:]
        return [line if len(line) <= self._limit else CutLine(line[:KEPT_BYTES], self._limit) for line in lines]

    def _hold(self, rest: bytes) -> None:
        if self._dropping or not rest:
            return
        self._pieces.append(rest)
        self._held += len(rest)


def read_line(line: Line) -> Entry:
    """What a line says; never raises. Pseudo entries of Sync Gateway (ids with ``_`` in front) are marks."""
    return _read_cut(line) if isinstance(line, CutLine) else _read_whole(line)


def _read_whole(line: bytes) -> Entry:
    if not line or line.isspace():
        return _CAUGHT_UP
    try:
        entry = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = "schema" if isinstance(error, msgspec.ValidationError) else "malformed_json"
        return _unusable_line(line[:KEPT_BYTES], reason, str(error)[:DETAIL_CHARACTERS])
    sequence = str(entry.seq)
    if not entry.id and not sequence and entry.last_seq:
        return Mark(str(entry.last_seq)[:MAXIMUM_TEXT])
    if fault := _fault(entry, sequence):
        return Unusable(sequence[:MAXIMUM_TEXT], entry.id[:MAXIMUM_TEXT], "", "schema", fault, line[:KEPT_BYTES])
    if entry.id[0] == "_":
        return Mark(sequence)
    document = b"" if entry.doc is UNSET else bytes(entry.doc)
    return Change(sequence, entry.id, entry.changes[0].rev, entry.deleted, document)


def _read_cut(line: CutLine) -> Entry:
    return _unusable_line(line.beginning, "oversized", f"a line of the feed is longer than {line.limit} bytes")


def _unusable_line(beginning: bytes, reason: str, detail: str) -> Entry:
    """Whose line it was stands at its beginning, so that it can be rejected like any other poison, and passed."""
    sequence, document_id = _beginning(beginning)
    if document_id.startswith("_"):
        return Mark(sequence)
    return Unusable(sequence, document_id, "", reason, detail, beginning)


def _beginning(line: bytes) -> tuple[str, str]:
    """``seq`` and ``id`` of a line that begins with them; "" for what cannot be known."""
    match = _BEGINNING.match(line)
    if match is None:
        return "", ""
    try:
        sequence, document_id = (str(_decode_word(word)) for word in match.groups())
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "", ""
    return ("", "") if max(len(sequence), len(document_id)) > MAXIMUM_TEXT else (sequence, document_id)


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
