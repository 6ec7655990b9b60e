"""The clock of one run: unix milliseconds that never jump within the process, whatever is done to the host's clock.

It takes the host's time once and follows the monotonic clock from then on, so that every difference of two of its times
is a true age, and every time of it can stand in a record.
"""

from __future__ import annotations

import time

from fleetwire.clock import now_ms


class RunClock:
    """Ages by the monotonic clock, written as unix milliseconds."""

    def __init__(self) -> None:
        self._began_ms = now_ms()
        self._began_monotonic_s = time.monotonic()

    def now_ms(self) -> int:
        """Now, in unix milliseconds."""
        return self._began_ms + round((time.monotonic() - self._began_monotonic_s) * 1000)
