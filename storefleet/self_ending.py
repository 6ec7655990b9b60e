"""When a lab ends by itself, from the command line: after so long a time of trading, after so many events, or either.

What is refused here would never end, or not within LONGEST_S: a lab of a CI job must not stand there for ever.
"""

from __future__ import annotations

import contextlib
import re
from typing import Final

from emulator.options import MAXIMUM_EVENTS
from fleetwire.errors import SettingsError
from storefleet.quantities import LARGEST_DURATION_S, read_duration

SHORTEST_S: Final = 1.0
LONGEST_S: Final = float(LARGEST_DURATION_S)
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?")
_TIME: Final = re.compile(r"[0-9]+(\.[0-9]+)?(ms|s|m|min|h)")


def read_trade_for(text: str | None) -> float | None:
    """Read ``60s`` or ``10m``; raises SettingsError. A bare number could be seconds or events, so it is refused."""
    if text is None:
        return None
    if _NUMBER.fullmatch(text):
        raise SettingsError(
            f"--for {text!r}: say the unit too, such as 60s or 10m; for a number of events use --events"
        )
    if not _TIME.fullmatch(text):
        raise SettingsError(f"--for {text!r}: expected a time such as 60s or 10m")
    found_s = LONGEST_S * 2
    with contextlib.suppress(SettingsError):  # its form is right, so nothing but its size can be refused
        found_s = read_duration(text, "--for")
    if not SHORTEST_S <= found_s <= LONGEST_S:
        raise SettingsError(f"--for {text!r}: expected a time from {SHORTEST_S:g}s to {LONGEST_S / 3600:g}h")
    return found_s


def check_trade_events(events: int | None, rate_per_s: float, trade_for_s: float | None) -> int | None:
    """So many events, which must be reached at this rate when no time ends the run; raises SettingsError."""
    if events is None:
        return None
    if not 1 <= events <= MAXIMUM_EVENTS:
        raise SettingsError(f"--events {events}: expected a number from 1 to {MAXIMUM_EVENTS:,}")
    if trade_for_s is None and events > rate_per_s * LONGEST_S:
        raise SettingsError(
            f"--events {events}: at --rate {rate_per_s:g}/s they are not traded within {LONGEST_S / 3600:g}h; raise the "
            "rate, or say with --for how long to wait at most"
        )
    return events
