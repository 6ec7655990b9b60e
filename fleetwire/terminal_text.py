"""Text of others on a terminal and in lines of JSON: it says what it says, and steers nothing.

What a client sent (topics, ids, payloads, details of errors) may hold escape sequences that a terminal obeys, marks that
turn the direction of writing, or characters at which a reader ends a line. ``shown`` puts a replacement character for
each; ``json_shown`` writes them as JSON escapes, so that the value stays the same.
"""

from __future__ import annotations

import re
from typing import Final

_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters but for line end and tab (C0, C1), separators, marks of direction (UAX 9), half characters."""


GAP: Final = "\N{REPLACEMENT CHARACTER}"


def shown(text: str) -> str:
    """The text with a replacement character for each that is no character to be seen; lines stay lines."""
    return _STEERING.sub(GAP, text)


def printable(text: str) -> str:
    """The text with a replacement character for each that cannot be printed, line ends and tabs among them."""
    return "".join(one if one.isprintable() else GAP for one in text)


def json_shown(json_text: str) -> str:
    """The same JSON, with escapes for them: valid JSON has them inside strings only."""
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", json_text)
