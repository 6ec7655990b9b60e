"""Media types: names without case, parameters, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.errors import BadPayload
from fleetwire.media_type import MAXIMUM_CHARACTERS, is_json, media_type
from tests.fleetwire.reading import read_or_refusal


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("application/json", "application/json"),
        ("Application/CloudEvents+JSON", "application/cloudevents+json"),
        (" application/json ;charset=utf-8", "application/json"),
        ('application/json; charset="UTF-8"; v=1', "application/json"),
        ('text/plain; title="a; charset=latin-1"', "text/plain"),
        (r'text/plain; title="a \" b"', "text/plain"),
        ("application/json;", "application/json"),
        ("application/json;;", "application/json"),
    ],
)
def test_names(text: str, name: str) -> None:
    """In lower case, whatever stands around and behind."""
    assert media_type(text) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "schema"),
        ("json", "schema"),
        ("application/", "schema"),
        ("application/json, text/plain", "schema"),
        ("application/json charset=utf-8", "schema"),
        ("application/json; charset", "schema"),
        ("application/json; charset =utf-8", "schema"),
        ('application/json; v="1', "schema"),
        ("application/json; charset=latin-1", "schema"),
        ("application/json; charset=utf-8; Charset=utf-8", "ambiguous"),
        ("application/json; v=1; v=2", "ambiguous"),
        ("a/" + "b" * MAXIMUM_CHARACTERS, "schema"),
    ],
)
def test_what_is_none(text: str, reason: str) -> None:
    """Refused, with the text that was given; never with empty quotes."""
    with pytest.raises(BadPayload) as caught:
        media_type(text)
    assert caught.value.reason == reason
    assert "''" not in caught.value.detail


@pytest.mark.parametrize(
    ("name", "json"),
    [
        ("application/json", True),
        ("text/json", True),
        ("application/vnd.acme.till+json", True),
        ("application/jsonp", False),
        ("application/json-seq", False),
        ("json/xml", False),
    ],
)
def test_which_are_json(name: str, json: bool) -> None:
    """By the subtype, or its structured suffix."""
    assert is_json(name) == json


@given(st.text(max_size=300) | st.from_regex(r"\A[a-z]+/[a-z+]+(; ?[a-z]+=([a-z]+|\"[^\"]*\"))*\Z"))
def test_any_text(text: str) -> None:
    """It has a name of two words in lower case, or is refused."""
    found = read_or_refusal(media_type, text)
    assert isinstance(found, BadPayload) or (found == found.lower() and found.count("/") == 1)
