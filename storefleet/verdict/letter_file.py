"""``letters.jsonl``: every dead letter of a run that the lab heard on its broker, and when it could not hear.

| line | holds |
|---|---|
| first | :class:`Header` |
| letter | :class:`Letter`; the first BODY_LIMIT with their payload, LETTER_LIMIT in all |
| gap | from when until when letters may have been missed |
| beyond | letters for which there was no line since the header, by stage and reason; the newest counts |
| end | everything was heard until then; without it the end is not known |

A lab that goes on with a run writes a header, a gap, and all of these again behind the lines of the one before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from fleetwire import bounded_json
from storefleet.verdict.packed_file import open_evidence

LETTERS_FORMAT: Final = "storefleet-letters"
LETTERS_VERSION: Final = 1
LETTERS_FILE_NAME: Final = "letters.jsonl"
LETTER_LIMIT: Final = 100_000
BODY_LIMIT: Final = 2_000
BODY_BYTES: Final = 4_096
LINE_LIMIT_BYTES: Final = 65_536
REST: Final = "other"
"""Stage and reason of letters beyond the lines whose kinds are not told apart any more."""

Counts = dict[str, dict[str, int]]
"""Stage -> reason -> how many."""


class Header(Struct, kw_only=True):
    """What the file is, and since when a lab listens."""

    format: str = LETTERS_FORMAT
    version: int = LETTERS_VERSION
    begun_at_ms: int = 0


class Letter(Struct, frozen=True, kw_only=True):
    """One dead letter, as its topic and its user properties tell it."""

    at_ms: int
    stage: str
    reason: str
    source: str
    """Whose message it was, or ``unknown``."""
    sequence: int | None = None
    """None: the message has no usable key."""
    detail: str = ""
    topic: str = ""
    """Of the message that the stage could not use; empty where it was none."""
    content: str = ""
    """Content hash of the event that the payload is, hexadecimal; empty where it is no canonical event."""
    claims: str = ""
    """Source that the payload names, of a message that was published as a canonical event, or of a document."""
    payload: bytes = b""
    """Its first BODY_BYTES, in base64."""
    size_bytes: int = 0


class Gap(Struct, frozen=True, kw_only=True):
    """Letters of this time may be missing."""

    gap_from_ms: int
    gap_until_ms: int


class Beyond(Struct, frozen=True, kw_only=True):
    """Letters without a line since the header."""

    beyond: Counts


class End(Struct, frozen=True, kw_only=True):
    """When the lab had heard everything."""

    end_at_ms: int


class Letters(Struct, kw_only=True):
    """All that was heard. ``complete``: nothing that was on the broker is missing."""

    heard: list[Letter] = field(default_factory=list)
    beyond: Counts = field(default_factory=dict)
    complete: bool = True

    def counts(self) -> Counts:
        """Stage -> reason -> letters."""
        total = Counter((letter.stage, letter.reason) for letter in self.heard)
        result = {stage: dict(reasons) for stage, reasons in self.beyond.items()}
        for (stage, reason), count in total.items():
            reasons = result.setdefault(stage, {})
            reasons[reason] = reasons.get(reason, 0) + count
        return result


class _Other(Struct, kw_only=True):
    """Any line that is no letter."""

    format: str = ""
    version: int = 0
    gap_from_ms: int | None = None
    end_at_ms: int | None = None
    beyond: Counts = field(default_factory=dict)


_decode_letter = bounded_json.Decoder(Letter).decode
_decode_other = bounded_json.Decoder(_Other).decode
_LETTER_BEGINS: Final = b'{"at_ms":'


def read_letters(path: Path) -> Letters | None:
    """What the file holds; None where there is none, or none of ours. A torn line makes it a lower bound."""
    try:
        with open_evidence(path) as file:
            head = _decode_other(file.readline(LINE_LIMIT_BYTES))
            if head.format != LETTERS_FORMAT or head.version > LETTERS_VERSION:
                return None
            return _read_lines(iter(lambda: file.readline(LINE_LIMIT_BYTES), b""))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _read_lines(lines: Iterator[bytes]) -> Letters:
    letters = Letters()
    newest: Counts = {}
    ended = False
    for text in lines:
        try:
            if text.startswith(_LETTER_BEGINS):
                letters.heard.append(_decode_letter(text))
                continue
            other = _decode_other(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            letters.complete = False
            continue
        if other.gap_from_ms is not None:
            letters.complete = False
        if other.format:
            _add(letters.beyond, newest)
            newest = {}
        newest = other.beyond or newest
        ended = other.end_at_ms is not None
    _add(letters.beyond, newest)
    letters.complete = letters.complete and ended
    return letters


def _add(counts: Counts, more: Counts) -> None:
    for stage, reasons in more.items():
        known = counts.setdefault(stage, {})
        for reason, count in reasons.items():
            known[reason] = known.get(reason, 0) + count
