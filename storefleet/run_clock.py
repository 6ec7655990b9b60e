"""The clock of one run: unix milliseconds that never jump within the process, whatever is done to the host's clock.

It takes the host's time once and follows a clock from then on that nobody can set, so that every difference of two of its
times is a true age, and every time of it can stand in a record. On Linux that clock runs on while the machine sleeps, as
the host's does, so that its times stay beside those of the ledger; elsewhere it stands still meanwhile.
"""

from __future__ import annotations

import sys
import time

from fleetwire.clock import now_ms


class RunClock:
    """Ages by a clock that only runs, written as unix milliseconds."""

    def __init__(self) -> None:
        self._began_ms = now_ms()
        self._began_s = _running_s()

    def now_ms(self) -> int:
        """Now, in unix milliseconds."""
        return self._began_ms + round((_running_s() - self._began_s) * 1000)


def slept_s() -> float | None:
    """Seconds since boot that the machine slept, never too much; None where no clock tells."""
    return _running_s() - time.monotonic() if sys.platform == "linux" else None


def _running_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()
