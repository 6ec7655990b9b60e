"""A value that somebody sent, as the detail of a dead letter shows it: quoted and cut, or "nothing" where there is none.

A person who reads ``''`` or ``None`` looks for a quoting fault of ours; "nothing" says that the value itself is missing.
"""

from __future__ import annotations

from typing import Final

SHOWN_CHARACTERS: Final = 80


def quoted(value: object, characters: int = SHOWN_CHARACTERS) -> str:
    """At most so many characters of it; "nothing" for an empty text and for JSON's ``null``."""
    return "nothing" if value is None or value == "" else f"{value!r}"[:characters]
