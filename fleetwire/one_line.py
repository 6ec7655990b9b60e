"""JSON in one line: what one party wrote, with white space of its own, put into another party's framing by lines.

``one_line`` takes out the line ends between the tokens and writes the characters at which a reader may cut a text inside
a string (U+0085, U+2028, U+2029) as escapes. Nothing else is touched: every value, every number as it was written, every
key that is there twice and their order stay what they were.
"""

from __future__ import annotations

from typing import Final

_LINE_ENDS: Final = b"\r\n"
_ESCAPES: Final = tuple((mark.encode(), b"\\u%04x" % ord(mark)) for mark in "\x85\u2028\u2029")
"""Of all characters at which ``str.splitlines`` and JavaScript end a line, those that JSON allows inside a string."""


def one_line(json_text: bytes) -> bytes:
    """The same JSON without a line end. ``json_text`` must be valid: then no raw line end stands inside a string."""
    if b"\n" in json_text or b"\r" in json_text:
        json_text = json_text.translate(None, _LINE_ENDS)
    return escape_line_marks(json_text)


def escape_line_marks(json_text: bytes) -> bytes:
    """JSON, of any number of lines, without a character inside a string at which a reader would cut."""
    if json_text.isascii():
        return json_text
    for mark, escape in _ESCAPES:
        json_text = json_text.replace(mark, escape)
    return json_text
