"""Revision ids against the vectors that Sync Gateway's own tests publish."""

import hashlib

import pytest

from fleetwire.revisions import (
    canonical_json,
    generation_of,
    read_exactly,
    revision_id,
    revision_id_of_canonical,
)

FIRST_REVISIONS = [
    ({}, "1-ca9ad22802b66f662ff171f226211d5c"),
    ({"prop": True}, "1-45ca73d819d5b1c9b8eea95290e79004"),
    ({"n": 1}, "1-50133ddd8e49efad34ad9ecae4cb9907"),
]
SECOND_REVISIONS = [
    ("1-50133ddd8e49efad34ad9ecae4cb9907", {"n": 10}, "2-7e384b16e63ee3218349ee568f156d6f"),
    ("1-ca9ad22802b66f662ff171f226211d5c", {"val": "newval"}, "2-2f981cadffde70e8a1d9dc386a410e0d"),
]
CANONICAL = [
    (b'{"b": 1, "a": [1, 2 ]}', b'{"a":[1,2],"b":1}'),
    (b'{"s":"<a> & b"}', b'{"s":"\\u003ca\\u003e \\u0026 b"}'),
    ('{"s":"\u2028\u2029"}'.encode(), b'{"s":"\\u2028\\u2029"}'),
    (b'{"s":"\\u2028"}', b'{"s":"\\u2028"}'),
    ('{"s":"ñ\\u00e9"}'.encode(), '{"s":"ñé"}'.encode()),
    (b'{"x":1e2,"y":1.50,"z":12345678901234567890123}', b'{"x":1e2,"y":1.50,"z":12345678901234567890123}'),
    ('{"\U0001f600":1,"\uffee":2}'.encode(), '{"\uffee":2,"\U0001f600":1}'.encode()),
    (b'{"nested":{"b":null,"a":false}}', b'{"nested":{"a":false,"b":null}}'),
]


@pytest.mark.parametrize(("body", "expected"), FIRST_REVISIONS)
def test_first_revision_matches_the_published_vector(body: dict[str, object], expected: str) -> None:
    """A first revision has the id that Sync Gateway gives it."""
    assert revision_id(1, "", body) == expected


@pytest.mark.parametrize(("parent", "body", "expected"), SECOND_REVISIONS)
def test_second_revision_matches_the_published_vector(parent: str, body: dict[str, object], expected: str) -> None:
    """A later revision's id covers its parent."""
    assert revision_id(2, parent, body) == expected


@pytest.mark.parametrize(("text", "expected"), CANONICAL)
def test_canonical_json_is_what_go_writes(text: bytes, expected: bytes) -> None:
    """Keys are sorted by their UTF-8, numbers keep their text, and Go's HTML escapes are applied."""
    value = read_exactly(text)
    assert isinstance(value, dict)
    assert canonical_json(value) == expected


def test_properties_of_sync_gateway_are_not_hashed_but_deleted_is() -> None:
    """`_id`, `_rev` and their like do not change the id; `_deleted` does."""
    meta = {"_id": "x", "_rev": "1-a", "_revisions": {}, "_exp": 1, "_attachments": {}, "_sync_x": 1, "_sync": 1}
    assert revision_id(1, "", {"n": 1, **meta}) == revision_id(1, "", {"n": 1})
    assert revision_id(1, "", {"n": 1, "_deleted": True}) != revision_id(1, "", {"n": 1})


def test_canonical_bytes_give_the_same_id_as_the_mapping() -> None:
    """The fast variant hashes length byte, parent and bytes."""
    digest = hashlib.md5(b"\x03" + b"1-a" + b'{"n":1}', usedforsecurity=False).hexdigest()
    assert revision_id_of_canonical(2, "1-a", b'{"n":1}') == f"2-{digest}" == revision_id(2, "1-a", {"n": 1})


@pytest.mark.parametrize("text", ["", "1", "0-a", "-1-a", "x-a", "1-", "1- a", '1-"', "1-\\", "1-é", "1-" + "a" * 201])
def test_what_is_not_a_revision_id_is_refused(text: str) -> None:
    """A revision id is a generation from 1, a dash, and printable ASCII without quotes."""
    with pytest.raises(ValueError, match="is not a revision id"):
        generation_of(text)


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b"{", b"'a'"])
def test_exact_reading_refuses_what_is_not_json(text: bytes) -> None:
    """Constants that JSON does not have are refused like any other syntax error."""
    with pytest.raises(ValueError, match=r"."):
        read_exactly(text)
