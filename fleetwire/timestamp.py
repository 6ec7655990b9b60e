"""Timestamps as RFC 3339 writes them: whether two notations name one moment."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

_TIMESTAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def same_moment(one: str, other: str) -> bool:
    """Whether both are timestamps (section 5.6) of the same moment; a text that is none is the same as no other."""
    moment = _moment(one)
    return moment is not None and moment == _moment(other)


def _moment(text: str) -> tuple[float, str] | None:
    """Its whole seconds, and the digits of the fraction."""
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        return None
    day, time, fraction, zone = found.groups()
    try:
        whole = datetime.fromisoformat(f"{day}T{time}{zone.upper()}")
        return whole.timestamp(), (fraction or "").rstrip("0")
    except (ValueError, OverflowError):
        return None
