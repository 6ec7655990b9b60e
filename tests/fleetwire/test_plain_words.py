"""What msgspec says of a wrong value reaches people in plain words, with its place, and without a regular expression."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta, Struct

from fleetwire.nearest_word import meant, nearest
from fleetwire.plain_words import matching, plain


class Line(Struct, forbid_unknown_fields=True):
    """One of several."""

    code: Annotated[str, matching(r"^\d{3}$", "three digits")]
    count: Annotated[int, Meta(ge=1, le=9)] = 1
    note: str | None = None


class Slip(Struct, forbid_unknown_fields=True):
    """The whole."""

    lines: Annotated[list[Line], Meta(min_length=1)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[]", "expected a table of names and values, found a list"),
        (b'{"lines":[]}', "lines: expected at least 1 entries"),
        (b'{"line":[]}', "unknown key 'line'"),
        (b'{"lines":[{}]}', "lines[0]: the key 'code' is missing"),
        (b'{"lines":[{"code":"x"}]}', "lines[0].code: expected three digits"),
        (b'{"lines":[{"code":"123","count":"1"}]}', "lines[0].count: expected a whole number, found a text"),
        (b'{"lines":[{"code":"123","count":0}]}', "lines[0].count: expected a whole number of at least 1"),
        (b'{"lines":[{"code":"123","note":true}]}', "lines[0].note: expected a text or null, found true or false"),
    ],
)
def test_in_plain_words(text: bytes, said: str) -> None:
    """Place, what is expected, what was found."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(text, type=Slip)
    assert plain(caught.value) == said


def test_the_word_that_was_meant() -> None:
    """The nearest, whatever its case or dashes; where none is near, which there are; a huge word is near to none."""
    assert nearest("Sync-Stge", ["parm", "sync_stage"]) == "sync_stage"
    assert meant("parmm", ["gateway", "parm"]) == "did you mean 'parm'?"
    assert meant("till", ["gateway", "views"]) == "there are gateway, views"
    assert meant("x" * 1_000_000, []) == "there are none"
