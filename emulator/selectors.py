"""Whom a selector such as ``taco.west.*`` means: levels with wildcards, and what is wrong with one that means nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from fleetwire.nearest_word import meant

LEVELS: Final = ("brand", "region", "store", "terminal")
SHOWN_CHARACTERS: Final = 80


def nobody(selector: str, names: Iterable[str], levels: Sequence[str]) -> str | None:
    """Why no name fits the selector, with the nearest right word; None where one fits.

    ``levels`` are the selector's parts from the brand on; names are ids of stores or terminals. A level that fits
    nobody is named, or else where the levels before it and this one do not go together.
    """
    parts = [name.split(".") for name in names]
    fitting = parts
    for place, level in enumerate(levels):
        if not any(fnmatchcase(part[place], level) for part in parts):
            known = dict.fromkeys(part[place] for part in parts)
            return f"{selector[:SHOWN_CHARACTERS]!r} fits nobody: no {LEVELS[place]} {level[:SHOWN_CHARACTERS]!r}; " + (
                meant(level, known)
            )
        before, fitting = fitting, [part for part in fitting if fnmatchcase(part[place], level)]
        if not fitting:
            known = dict.fromkeys(part[place] for part in before)
            above = ".".join(levels[:place])
            return f"{selector[:SHOWN_CHARACTERS]!r} fits nobody: no {LEVELS[place]} of {above} is {level!r}; " + (
                meant(level, known)
            )
    return None
