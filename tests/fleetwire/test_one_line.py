"""JSON in one line: nothing at which anybody cuts lines is left, and every value is what it was."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.one_line import one_line

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def exactly(text: bytes) -> Any:
    """Numbers as they were written, and every pair of an object, in order."""
    return json.loads(text, parse_float=str, parse_int=str, object_pairs_hook=list)


@given(VALUES, st.sampled_from(["\n", "\r\n", "\r", "\t", " \n\t"]), st.booleans())
def test_whatever_white_space_and_text_there_was_it_is_one_line_of_the_same_values(
    value: object, white_space: str, escaped: bool
) -> None:
    """Also for readers that cut text as Python does, at U+0085, U+2028 and U+2029."""
    indented = json.dumps(value, indent="\t", ensure_ascii=escaped)
    text = (white_space + indented.replace("\n", white_space) + white_space).encode()
    line = one_line(text)
    assert len(line.decode().splitlines()) <= 1
    assert b"\n" not in line
    assert exactly(line) == exactly(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b'{\r\n\t"a" : 1 ,\n"b": [1e2, -0,\r 2.50]\n}\n', b'{\t"a" : 1 ,"b": [1e2, -0, 2.50]}'),
        (b'{"big":\n123456789012345678901234567890}', b'{"big":123456789012345678901234567890}'),
        (b'{"a":\n1,\n"a":2}', b'{"a":1,"a":2}'),
        ('{"a":"x\u2028y\u2029z\x85"}'.encode(), b'{"a":"x\\u2028y\\u2029z\\u0085"}'),
        ('{"\\\\\u2028":"\u00e9"}'.encode(), '{"\\\\\\u2028":"\u00e9"}'.encode()),
        (b'{"a":"\\n\\u0000\x7f"}', b'{"a":"\\n\\u0000\x7f"}'),
    ],
)  # fmt: skip
def test_nothing_but_line_ends_is_touched(text: bytes, line: bytes) -> None:
    """Blanks, numbers, keys that are there twice, and escapes stay as they were written."""
    assert one_line(text) == line


def test_what_is_in_one_line_already_is_given_back_as_it_is() -> None:
    """It is on the way of every document."""
    text = json.dumps({"n": random.Random(1).random(), "s": "é <b>"}, ensure_ascii=False).encode()
    assert one_line(text) == text
