"""The members of a JSON object one by one, in order, those that stand twice too, as far as the text can be read.

A parser gives one value for a name that stands twice, and none at all for a text that is cut off, nested without end or
otherwise no JSON. This reads on to the first place where it would have to guess: a member counts once its value is
followed by a comma or the closing brace, so a number that was cut is not taken for a smaller one. Linear in the length
of the text, without recursion. Whether the whole is JSON it does not say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

_SPACE: Final = r"[ \t\n\r]*"
_STRING: Final = r'"(?:[^"\\]|\\.)*+"'
_OPEN: Final = re.compile(_SPACE + r"\{")
_NAME: Final = re.compile(rf"{_SPACE}({_STRING}){_SPACE}:{_SPACE}", re.DOTALL)
_SCALAR: Final = re.compile(rf'({_STRING})|[^\s,{{}}\[\]"]++', re.DOTALL)
_NEXT: Final = re.compile(_SPACE + r"([,}])")
_TO_BRACKET: Final = re.compile(rf'(?:[^"{{}}\[\]]++|{_STRING})*+([{{}}\[\]])', re.DOTALL)
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_WORDS: Final = {"true": "true", "false": "false", "null": ""}


def members(text: str) -> Iterator[tuple[str, str | None]]:
    """Name and value of each member. The value is its text form (CloudEvents 1.0.2, "Type System"): a string, an integer
    or a truth value; empty for ``null``; None for what has no text form (fraction, array, object, no JSON)."""
    opening = _OPEN.match(text)
    at = opening.end() if opening is not None else len(text)
    while (name := _NAME.match(text, at)) is not None:
        value, at = _value(text, name.end())
        follows = _NEXT.match(text, at)
        if follows is None:
            return
        try:
            yield json.loads(name[1]), json.loads(value) if value is not None and value[:1] == '"' else _word(value)
        except ValueError:
            return
        if follows[1] == "}":
            return
        at = follows.end()


def _value(text: str, begin: int) -> tuple[str | None, int]:
    """A scalar as it is written, None for an array or object; and where it ends."""
    scalar = _SCALAR.match(text, begin)
    if scalar is not None:
        return scalar[0], scalar.end()
    depth = 0
    while (bracket := _TO_BRACKET.match(text, begin)) is not None:
        begin = bracket.end()
        depth += 1 if bracket[1] in "[{" else -1
        if depth <= 0:
            return None, begin
    return None, len(text)


def _word(value: str | None) -> str | None:
    if value is None or _INTEGER.fullmatch(value) is not None:
        return value
    return _WORDS.get(value)
