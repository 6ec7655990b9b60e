"""The word that was probably meant, for everything that a person may misspell: one rule for keys, names and places."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

LIKENESS: Final = 0.6
"""Of two words, 0 to 1: below that nobody meant the other."""
LONGEST_WORD: Final = 100
"""Longer ones are nobody's typing error; comparing costs the square of the length."""
MOST_WORDS: Final = 20_000
WORDS_SHOWN: Final = 12


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, without regard to case; None where none is like it."""
    if len(word) > LONGEST_WORD:
        return None
    by_form = {_form(one): one for _, one in zip(range(MOST_WORDS), known, strict=False)}
    found = get_close_matches(_form(word), by_form, n=1, cutoff=LIKENESS)
    return by_form[found[0]] if found else None


def meant(word: str, known: Iterable[str], *, there_are: str = "there are") -> str:
    """``did you mean 'parm'?``, or, where nothing is near, which there are: the end of a sentence about a wrong word."""
    words = list(known)
    near = nearest(word, words)
    return f"did you mean {near!r}?" if near is not None else f"{there_are} {listed(words)}"


def listed(words: Iterable[str]) -> str:
    """``taco, burger and 3 more``: as many as one line bears; ``none`` for no word at all."""
    names = list(words)
    more = len(names) - WORDS_SHOWN
    return ", ".join(names[:WORDS_SHOWN]) + (f" and {more:,} more" if more > 0 else "") or "none"


def one_of(words: Iterable[object]) -> str:
    """``taco, burger or pizza``."""
    *names, last = map(str, words)
    return f"{', '.join(names)} or {last}" if names else last


def _form(word: str) -> str:
    return word.strip().lower().replace("-", "_")
