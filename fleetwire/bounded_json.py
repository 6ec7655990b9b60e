"""Reads JSON that somebody else wrote: nested at most so deep, on every version of Python.

A decoder alone goes as deep as the interpreter's stack lets it, which differs by version and by who calls. RFC 8259,
section 9: an implementation may set limits on the maximum depth of nesting.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Final, Generic, TypeVar, overload

import msgspec

MAXIMUM_DEPTH: Final = 200
"""How many arrays and objects may stand inside each other in any text."""
DOCUMENT_DEPTH: Final = 150
"""The same for one event or one document: it is passed on inside other values, and those are read as well."""

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
Text = bytes | str | msgspec.Raw
Shape = TypeVar("Shape")


def check_depth(text: Text, depth: int = MAXIMUM_DEPTH) -> None:
    """Raises msgspec.DecodeError for JSON that is nested more than ``depth`` deep, whether or not it is ever closed."""
    if len(text) <= depth:
        return
    octets = text.encode(errors="replace") if isinstance(text, str) else bytes(text)
    if octets.count(b"[") + octets.count(b"{") > depth and _depth(octets) > depth:
        raise msgspec.DecodeError(f"JSON is nested more than {depth} deep")


def _depth(octets: bytes) -> int:
    brackets = _STRING.sub(b"", octets).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


class Decoder(Generic[Shape]):
    """As msgspec.json.Decoder, with the limit."""

    @overload
    def __init__(self, shape: type[Shape], depth: int = MAXIMUM_DEPTH) -> None: ...
    @overload
    def __init__(self, shape: Any, depth: int = MAXIMUM_DEPTH) -> None: ...
    def __init__(self, shape: Any, depth: int = MAXIMUM_DEPTH) -> None:
        self._decode: Callable[[Text], Shape] = msgspec.json.Decoder(shape).decode
        self._depth = depth

    def decode(self, text: Text) -> Shape:
        """The value; raises msgspec.DecodeError, also for what is nested too deep, or UnicodeDecodeError."""
        check_depth(text, self._depth)
        return self._decode(text)


@overload
def decode(text: Text) -> Any: ...
@overload
def decode(text: Text, *, type: type[Shape]) -> Shape: ...
def decode(text: Text, *, type: Any = Any) -> Any:  # noqa: A002 - as msgspec.json.decode
    """As msgspec.json.decode, with the limit; raises as Decoder.decode does."""
    check_depth(text)
    return msgspec.json.decode(text, type=type)
