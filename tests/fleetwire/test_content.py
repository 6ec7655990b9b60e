"""The content hash: the same for the same business fields however they are written, another for anything else."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.content import HASH_BYTES, content_hash

TYPE = "transaction.retail"
TIME = "2026-11-22T10:00:00.000Z"
DAY = "2026-11-22"
DATA: dict[str, Any] = {
    "receipt_number": "0042-17",
    "training_mode": False,
    "grand_cents": 1_234,
    "description": "Käse & Brot",
    "line_items": [{"line": 1, "item_id": "1001", "quantity": -2}, {"line": 2, "item_id": "1002", "quantity": 1}],
    "original_key": "",
}
VALUES = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def reordered(value: Any) -> Any:
    """The same value with the keys of every object the other way round."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(one) for one in value] if isinstance(value, list) else value


def test_the_digest_is_recorded() -> None:
    """The digest of one event is written down, so that no release can change the hash without a word."""
    assert content_hash(TYPE, TIME, DAY, DATA).hex() == "ffecd6c13492cf48"


def test_the_documented_recipe() -> None:
    """Whoever hashes the sorted, dense UTF-8 JSON of type, time, day and data by BLAKE2b has the same eight bytes."""
    text = json.dumps([TYPE, TIME, DAY, DATA], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert content_hash(TYPE, TIME, DAY, DATA) == blake2b(text.encode(), digest_size=8).digest()


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_key_order_and_white_space_do_not_matter(data: dict[str, Any]) -> None:
    """Other orders of keys, indents and escapes of the same values have the same hash."""
    expected = content_hash(TYPE, TIME, DAY, data)
    assert len(expected) == HASH_BYTES
    assert content_hash(TYPE, TIME, DAY, reordered(data)) == expected
    for text in (json.dumps(data, indent=3), json.dumps(data, ensure_ascii=False, separators=(" , ", " :\n"))):
        assert content_hash(TYPE, TIME, DAY, msgspec.json.decode(text)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"receipt_number": "0042-18"},
        {"training_mode": True},
        {"training_mode": 0},
        {"grand_cents": -1_234},
        {"grand_cents": "1234"},
        {"description": "Kase & Brot"},
        {"line_items": DATA["line_items"][::-1]},
        {"line_items": DATA["line_items"][:1]},
        {"line_items": [{**DATA["line_items"][0], "quantity": 2}, DATA["line_items"][1]]},
        {"original_key": None},
        {"another": ""},
    ],
    ids=str,
)
def test_every_field_matters(change: dict[str, Any]) -> None:
    """Another value, type, order of a list or one field more is another hash."""
    assert content_hash(TYPE, TIME, DAY, {**DATA, **change}) != content_hash(TYPE, TIME, DAY, DATA)


def test_what_stands_beside_the_data_matters() -> None:
    """Type, time and business day are part of the content, and a missing field is one too."""
    others = [
        content_hash("transaction.void", TIME, DAY, DATA),
        content_hash(TYPE, "2026-11-22T10:00:00.001Z", DAY, DATA),
        content_hash(TYPE, TIME, "2026-11-23", DATA),
        content_hash(TYPE, TIME, DAY, {name: value for name, value in DATA.items() if name != "original_key"}),
        content_hash(TYPE, TIME, DAY, DATA),
    ]
    assert len(set(others)) == len(others)


@given(VALUES, VALUES)
def test_different_values_have_different_hashes(one: object, other: object) -> None:
    """Two values share a hash exactly when their JSON says the same."""
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (content_hash(TYPE, TIME, DAY, one) == content_hash(TYPE, TIME, DAY, other)) == same
