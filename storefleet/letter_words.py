"""What a dead letter is called, and what it fails to say, in words: a person who reads nothing looks for a fault of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fleetwire.dead_letters import UNKNOWN
from fleetwire.envelope_faults import PROPERTY, are_missing

SAYS: Final = ("detail", "stage", "reason", "original_topic")
"""The user properties that every stage of ours gives its letters; what somebody else's stage gives, nobody knows."""


def message_name(source: str, sequence: int | None) -> str:
    """The event's key; of a message without one, whose it was."""
    if sequence is not None:
        return f"{source}.{sequence}"
    return "a message without sender and key" if source in {"", UNKNOWN} else f"a message of {source} without a key"


def detail_of(properties: Mapping[str, str]) -> str:
    """What the letter says is wrong; where it says nothing, what it lacks."""
    if detail := properties.get("detail"):
        return detail
    missing = [name for name in SAYS if name not in properties]
    if not missing:
        return "no detail is given"
    return f"{are_missing(missing, PROPERTY)}: sent by hand, or by a stage of yours"
