"""What reading hostile input gives: the value, or the refusal; any other error goes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fleetwire.errors import BadPayload

Given = TypeVar("Given")
Found = TypeVar("Found")


def read_or_refusal(read: Callable[[Given], Found], given: Given) -> Found | BadPayload:
    """What ``read`` makes of it, or the BadPayload that it raises."""
    try:
        return read(given)
    except BadPayload as error:
        return error
