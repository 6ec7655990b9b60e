"""Numbers, rates and durations as people write them: read in one way, and refused by the limit that they break.

Digits are 0 to 9 and nothing else: Python would take ``1_0``, ``nan`` and the digits of every script.
"""

from __future__ import annotations

import re
from typing import Final

from fleetwire.errors import SettingsError
from fleetwire.plain_words import number_text

LARGEST_RATE_PER_S: Final = 100_000.0
LARGEST_DURATION_S: Final = 86_400 * 7
_NUMBER: Final = re.compile(
    r"([+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?)(.*)", re.ASCII
)
_INFINITE: Final = re.compile(r"([+-]?)inf(?:inity)?(.*)", re.ASCII | re.IGNORECASE)
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
_SHOWN: Final = 80
_RATE_UNITS: Final = {"": 1.0, "/s": 1.0, "/min": 60.0, "/m": 60.0, "/h": 3600.0}
_TIME_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def read_rate(text: str, option: str = "--rate") -> float:
    """Read ``200/s``, ``200``, ``12000/min``; events a second over the whole fleet. SettingsError."""
    number, unit = _parted(text)
    if number is None or unit not in _RATE_UNITS:
        raise SettingsError(
            f"{option} {text[:_SHOWN]!r}: expected a number of events such as 200/s or 600/min, from 0 to "
            f"{number_text(LARGEST_RATE_PER_S)}/s"
        )
    rate_per_s = number / _RATE_UNITS[unit]
    return _within(rate_per_s, 0.0, LARGEST_RATE_PER_S, f"{option} {text[:_SHOWN]}", "/s")


def read_duration(text: str, option: str, *, at_least_s: float = 0.0) -> float:
    """Read ``60s``, ``1.5m``, ``500ms`` or plain seconds. SettingsError."""
    number, unit = _parted(text)
    if number is None or unit not in _TIME_UNITS:
        raise SettingsError(
            f"{option} {text[:_SHOWN]!r}: expected a time such as 60s, 500ms or 2m, from {at_least_s:g} s to "
            f"{number_text(LARGEST_DURATION_S)} s"
        )
    return _within(number * _TIME_UNITS[unit], at_least_s, LARGEST_DURATION_S, f"{option} {text[:_SHOWN]}", " s")


def read_whole(text: str, option: str, least: int, most: int) -> int:
    """Read a whole number within its limits. SettingsError."""
    given = text.strip()
    if not _WHOLE.fullmatch(given):
        limits = f"from {number_text(least)} to {number_text(most)}"
        raise SettingsError(f"{option} {text[:_SHOWN]!r}: expected a whole number {limits}")
    return int(_within(int(given), least, most, f"{option} {given}", ""))


def _parted(text: str) -> tuple[float | None, str]:
    given = text.strip()
    if match := _NUMBER.fullmatch(given):
        return float(match[1]), "".join(match[2].split())
    if match := _INFINITE.fullmatch(given):
        return float(f"{match[1]}inf"), match[2].strip()
    return None, ""


def _within(value: float, least: float, most: float, given: str, unit: str) -> float:
    if value > most:
        raise SettingsError(f"{given}: at most {number_text(most)}{unit}")
    if value < least:
        raise SettingsError(f"{given}: at least {number_text(least)}{unit}")
    return value
