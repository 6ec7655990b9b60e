"""The members of an object, as far as its text can be read: those that stand twice too, and none by guessing."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.json_members import members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.tuples(st.text(max_size=5), VALUES), max_size=6)


def text_of(pairs: list[tuple[str, object]], *, ensure_ascii: bool = True) -> str:
    """An object with these members, in this order, as often as they stand there."""
    encode = json.JSONEncoder(ensure_ascii=ensure_ascii).encode
    body = ",".join(f"{encode(name)}:{encode(value)}" for name, value in pairs)
    return "{" + body + "}"


def as_text(value: object) -> str | None:
    """An attribute's text form."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value) if isinstance(value, int) else None


@given(OBJECTS, st.booleans())
def test_every_member_comes_in_its_order(pairs: list[tuple[str, object]], ascii_only: bool) -> None:
    """Whatever its name and value, escaped or not, once or several times."""
    expected = [(name, as_text(value)) for name, value in pairs]
    assert list(members(text_of(pairs, ensure_ascii=ascii_only))) == expected


@given(OBJECTS, st.data())
def test_of_a_text_that_is_cut_off_only_whole_members_count(
    pairs: list[tuple[str, object]], data: st.DataObject
) -> None:
    """A cut never makes another value of one, and never another member."""
    text = text_of(pairs)
    found = list(members(text[: data.draw(st.integers(0, len(text)))]))
    assert found == [(name, as_text(value)) for name, value in pairs][: len(found)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("[]", []),
        ("{}", []),
        ('{"a":1', []),
        ('{"a":1}', [("a", "1")]),
        ('{"a":1} {"b":2}', [("a", "1")]),
        ('{"a":12,"b', [("a", "12")]),
        ('{"a":1.5,"b":1e3,"c":01,"d":tru}', [("a", None), ("b", None), ("c", None), ("d", None)]),
        ('{"a":[{"b":"]"}],"c":{"d":"}"},"e":"x"}', [("a", None), ("c", None), ("e", "x")]),
        ('{"a":"\\q","b":1}', []),
        (' \n{ "a" :\t"b" , "c" : null }', [("a", "b"), ("c", "")]),
    ],
)
def test_what_is_read_of_a_text(text: str, found: list[tuple[str, str | None]]) -> None:
    """Up to the first place where one would have to guess."""
    assert list(members(text)) == found


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' + "[" * 65_000,
        '{"a":[' + "[]," * 21_000,
        '{"a":"' + '\\"' * 32_000,
        "{" + '"a":1,' * 10_000,
        "{" + " " * 65_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    """Linear in its length: of CPU time a fraction of what would stop a stage, however it is nested or cut."""
    begin_s = time.process_time()
    list(members(text))
    assert time.process_time() - begin_s < 1.0
