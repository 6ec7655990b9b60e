"""Timestamps: two notations of one moment are the same, a text that is none is the same as nothing."""

from __future__ import annotations

import pytest

from fleetwire.timestamp import same_moment

TIME = "2026-03-02T14:00:00.000Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T14:00:00Z",
        "2026-03-02t14:00:00z",
        "2026-03-02T14:00:00.000000000000Z",
        "2026-03-02T14:00:00+00:00",
        "2026-03-02T14:00:00-00:00",
        "2026-03-02T15:30:00.0+01:30",
        "2026-03-01T23:00:00-15:00",
    ],
)
def test_the_same_moment(text: str) -> None:
    """Whatever the offset, the case and the places of the fraction."""
    assert same_moment(text, TIME)
    assert same_moment(TIME, text)


@pytest.mark.parametrize(
    "text", ["2026-03-02T14:00:00.0000000001Z", "2026-03-02T14:00:01Z", "0001-01-01T00:00:00+14:00"]
)
def test_another_moment(text: str) -> None:
    """However little it differs, and however far away it is."""
    assert not same_moment(text, TIME)
    assert same_moment(text, text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T14:00:00",
        "2026-03-02 14:00:00Z",
        "2026-03-02T14:00Z",
        "20260302T140000Z",
        "2026-02-30T14:00:00Z",
        "2026-03-02T24:00:00Z",
        "2026-03-02T14:00:60Z",
        "2026-03-02T14:00:00+24:00",
        "\u0662026-03-02T14:00:00Z",
        "yesterday",
        "",
    ],
)
def test_what_is_no_timestamp(text: str) -> None:
    """Also where Python would read it: it is not even the same as itself."""
    assert not same_moment(text, text)
