"""How deep JSON may be nested is the same on every Python, wherever the brackets stand."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire import bounded_json
from fleetwire.bounded_json import DOCUMENT_DEPTH, MAXIMUM_DEPTH, check_depth

ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(alphabet='[]{}",\\a\u00e9'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='[{"\\'), inner, max_size=4),
)


def depth_of(value: object) -> int:
    """By walking the value."""
    inner = list(value) if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(ANY, st.integers(0, 6))
def test_the_depth_is_that_of_the_value(value: object, depth: int) -> None:
    """Brackets in texts and names do not count, nor does how many stand beside each other."""
    text = msgspec.json.encode(value)
    if depth_of(value) <= depth:
        check_depth(text, depth)
        check_depth(text.decode(), depth)
    else:
        with pytest.raises(msgspec.DecodeError, match=f"nested more than {depth} deep"):
            check_depth(text, depth)


@pytest.mark.parametrize("close", [True, False], ids=["closed", "left open"])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b' [ {"a\\"[":'], ids=["arrays", "objects", "both"])
def test_one_level_more_than_the_limit_is_refused(opening: bytes, close: bool) -> None:
    """Whether or not the text ends well; the limit itself is fine where it is closed."""
    levels = opening.count(b"[") - opening.count(b'"[') + opening.count(b"{")
    pairs = {"[": "]", "{": "}"}
    end = "".join(pairs[bracket] for bracket in reversed(opening.replace(b'"[', b"").decode()) if bracket in pairs)

    def nested(times: int) -> bytes:
        return opening * times + b"1" + (end.encode() * times if close else b"")

    most = nested(MAXIMUM_DEPTH // levels)
    if close:
        assert depth_of(bounded_json.decode(most)) == MAXIMUM_DEPTH
    else:
        with pytest.raises(msgspec.DecodeError, match="truncated"):
            bounded_json.decode(most)
    for times in (MAXIMUM_DEPTH // levels + 1, 100_000):
        with pytest.raises(msgspec.DecodeError, match="nested more than 200 deep"):
            bounded_json.decode(nested(times))


def test_a_text_that_never_ends_holds_no_brackets() -> None:
    """What is wrong with it is said, not that it is nested."""
    for text in (b'["' + b"[" * 300, b'["\\"' + b"{" * 300, b'["' + b"\\" * 301):
        with pytest.raises(msgspec.DecodeError, match=r"truncated|malformed|escape"):
            bounded_json.decode(text)


def test_many_values_beside_each_other_are_not_deep() -> None:
    """A batch is as wide as it likes."""
    assert len(bounded_json.Decoder(list[dict[str, int]]).decode(msgspec.json.encode([{"a": 1}] * 10_000))) == 10_000


def test_a_document_leaves_room_for_what_stands_around_it() -> None:
    """A page of a feed, a batch or a control line holds documents some levels down."""
    assert DOCUMENT_DEPTH + 10 < MAXIMUM_DEPTH
    decoder = bounded_json.Decoder(list[object], DOCUMENT_DEPTH)
    assert depth_of(decoder.decode(b"[" * DOCUMENT_DEPTH + b"]" * DOCUMENT_DEPTH)) == DOCUMENT_DEPTH
    with pytest.raises(msgspec.DecodeError, match="nested more than 150 deep"):
        decoder.decode(b"[" * (DOCUMENT_DEPTH + 1) + b"]" * (DOCUMENT_DEPTH + 1))
