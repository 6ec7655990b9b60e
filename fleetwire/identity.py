"""Who sends, and the one key of an event: (source, sequence), with one text form that is safe everywhere.

A terminal's id ``{brand}.{region}.{store}.{terminal}`` is its MQTT client id, its CloudEvents source and the last level
of its topics. The key's text form appends the sequence: ``taco.west.s0042.r01.317``. Both use only ``[a-z0-9.-]``, so
they need no quoting in a shell, a URL, a topic, a file name or a document id.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from fleetwire.errors import BadPayload

MAXIMUM_SEQUENCE = 2**53 - 1
"""Largest sequence that every JSON implementation reads exactly (RFC 8259, section 6)."""

MAXIMUM_ID_CHARACTERS = 4 * 32 + 3

_WORD = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def is_word(text: str) -> bool:
    """Whether the text may be a brand, region, store or terminal: 1 to 32 of ``[a-z0-9-]``, no dash at the ends."""
    return _WORD.fullmatch(text) is not None


def is_terminal_id(text: str) -> bool:
    """Whether the text is a terminal's id."""
    return _words(text) is not None


class Terminal(NamedTuple):
    """The four words of a terminal's id."""

    brand: str
    region: str
    store: str
    terminal: str

    @property
    def id(self) -> str:
        """Client id, source and last topic level, e.g. ``taco.west.s0042.r01``."""
        return f"{self.brand}.{self.region}.{self.store}.{self.terminal}"

    @property
    def store_id(self) -> str:
        """The store's id, e.g. ``taco.west.s0042``."""
        return f"{self.brand}.{self.region}.{self.store}"

    @classmethod
    def parse(cls, source: str) -> Terminal:
        """Read an id; raises BadPayload(no_key) for anything that is not four words."""
        words = _words(source)
        if words is None:
            said = f"{source[:100]!r} is no terminal id" if source else "no terminal id is given"
            raise BadPayload("no_key", f"{said} (brand.region.store.terminal)")
        return cls(*words)


@lru_cache(maxsize=32_768)
def _words(source: str) -> tuple[str, ...] | None:
    """The four words of an id, or None. A fleet's ids come again and again: the cache makes the check nearly free."""
    words = tuple(source.split(".")) if len(source) <= MAXIMUM_ID_CHARACTERS else ()
    return words if len(words) == 4 and all(is_word(word) for word in words) else None


class Key(NamedTuple):
    """An event's key: who numbered it, and its number (from 1, without gaps)."""

    source: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.source}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Read the text form; raises BadPayload(no_key)."""
        source, _, digits = text.rpartition(".")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 16 and not digits.startswith("0")):
            said = f"{text[:120]!r} does not end" if text else "no key is given: one ends"
            raise BadPayload("no_key", f"{said} in a sequence number, such as taco.west.s0042.r01.317")
        sequence = int(digits)
        if sequence > MAXIMUM_SEQUENCE:
            raise BadPayload("no_key", f"sequence {digits} is beyond {MAXIMUM_SEQUENCE}")
        Terminal.parse(source)
        return cls(source, sequence)
