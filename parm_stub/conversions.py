"""What a mapping's ``as`` may name: how one raw value becomes a canonical one. Every conversion is strict.

Each takes (raw value, source of the event) and raises ValueError or TypeError for anything but what it expects; none
guesses, rounds or trims. ``true`` is no number, ``1.0`` is no integer, a date must exist in the calendar.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from fleetwire.identity import MAXIMUM_SEQUENCE

Conversion = Callable[[Any, str], Any]

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,8})\.[0-9]{2}")
_OFFSET_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}[+-][0-9]{2}:[0-9]{2}")
_UTC_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH: Final = datetime(1970, 1, 1)
_LATEST_EPOCH_MS: Final = 4_102_444_800_000


def text(value: Any, _source: str) -> str:
    """A JSON string as it is."""
    if type(value) is not str:
        raise TypeError(_wanted("a string", value))
    return value


def integer(value: Any, _source: str) -> int:
    """A JSON integer as it is."""
    if type(value) is not int:
        raise TypeError(_wanted("an integer", value))
    return value


def boolean(value: Any, _source: str) -> bool:
    """``true`` or ``false``."""
    if type(value) is not bool:
        raise TypeError(_wanted("true or false", value))
    return value


def flag(value: Any, source: str) -> bool:
    """0 or 1."""
    if integer(value, source) not in (0, 1):
        raise ValueError(_wanted("0 or 1", value))
    return bool(value)


def decimal_cents(value: Any, _source: str) -> int:
    """``"12.34"`` -> 1234; exactly two places."""
    if _DECIMAL.fullmatch(value) is None:
        raise ValueError(_wanted("an amount such as 12.34", value))
    return int(value[:-3] + value[-2:])


def offset_time(value: Any, _source: str) -> str:
    """RFC 3339 with milliseconds and an offset -> the same moment in UTC."""
    if _OFFSET_TIME.fullmatch(value) is None:
        raise ValueError(_wanted("a time with milliseconds and an offset", value))
    moment = datetime.fromisoformat(value[:23]) - _offset(value[23:])
    return moment.isoformat(timespec="milliseconds") + "Z"


def utc_time(value: Any, _source: str) -> str:
    """RFC 3339 in UTC with milliseconds, which must be a real moment."""
    if _UTC_TIME.fullmatch(value) is None:
        raise ValueError(_wanted("a UTC time with milliseconds", value))
    datetime.fromisoformat(value)
    return str(value)


def epoch_ms(value: Any, source: str) -> str:
    """Milliseconds since 1970, before the year 2100."""
    if not 0 <= integer(value, source) < _LATEST_EPOCH_MS:
        raise ValueError(_wanted("milliseconds since 1970", value))
    return (_EPOCH + timedelta(milliseconds=value)).isoformat(timespec="milliseconds") + "Z"


def date_text(value: Any, _source: str) -> str:
    """``YYYY-MM-DD``, which must be a real day."""
    if _DATE.fullmatch(value) is None:
        raise ValueError(_wanted("a date such as 2026-01-31", value))
    return date.fromisoformat(value).isoformat()


def date_number(value: Any, source: str) -> str:
    """``YYYYMMDD`` as a number, which must be a real day."""
    if not 10_000_000 < integer(value, source) < 100_000_000:
        raise ValueError(_wanted("a date such as 20260131", value))
    return date(value // 10_000, value // 100 % 100, value % 100).isoformat()


def own_key(value: Any, source: str) -> str:
    """A number of the same terminal -> the event's key; 0 -> none."""
    if not 0 <= integer(value, source) <= MAXIMUM_SEQUENCE:
        raise ValueError(_wanted("a sequence number", value))
    return f"{source}.{value}" if value else ""


def word(values: dict[str, str]) -> Conversion:
    """One of the dialect's words -> ours."""

    def convert(value: Any, source: str) -> str:
        found = values.get(text(value, source))
        if found is None:
            raise ValueError(_wanted(f"one of {', '.join(values)}", value))
        return found

    return convert


def code(values: list[str]) -> Conversion:
    """One of the dialect's codes, counted from 0 -> our word."""

    def convert(value: Any, source: str) -> str:
        if not 0 <= integer(value, source) < len(values):
            raise ValueError(_wanted(f"a code from 0 to {len(values) - 1}", value))
        return values[int(value)]

    return convert


CONVERSIONS: Final[dict[str, Conversion]] = {
    "text": text,
    "integer": integer,
    "boolean": boolean,
    "flag": flag,
    "decimal_cents": decimal_cents,
    "offset_time": offset_time,
    "utc_time": utc_time,
    "epoch_ms": epoch_ms,
    "date_text": date_text,
    "date_number": date_number,
    "own_key": own_key,
}
VALUE_CONVERSIONS: Final[dict[str, Callable[[Any], Conversion]]] = {"word": word, "code": code}
"""Conversions that need the mapping's ``values``."""


@lru_cache(maxsize=256)
def _offset(text: str) -> timedelta:
    """``-08:00`` as a span; at most 14 hours, as everywhere on earth."""
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 14 or minutes > 59:
        raise ValueError(_wanted("an offset of at most 14 hours", text))
    span = timedelta(hours=hours, minutes=minutes)
    return -span if text[0] == "-" else span


def _wanted(wanted: str, found: object) -> str:
    return f"expected {wanted}, found {found!r:.80}"
