"""How many events are due: a steady rate without drift, and bursts on top (sans-io).

The n-th event of a rate is due at start + n / rate, so a late wake-up is made up for and never adds up. After a
stall at most CATCH_UP_S worth of events is made up for; the rest is counted as skipped.
"""

from __future__ import annotations

from typing import Final

CATCH_UP_S: Final = 1.0
BURST_LIMIT: Final = 100_000
SHORTEST_WAIT_S: Final = 0.008
LONGEST_WAIT_S: Final = 0.25


class Pacer:
    """The fleet's offered load, in network time."""

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        self.rate_per_s = rate_per_s
        self.skipped = 0
        self.burst = 0
        self._start_s = now_s
        self._done = 0

    def set_rate(self, rate_per_s: float, now_s: float) -> None:
        """From now on this rate; what the old one still owed is forgotten."""
        self.rate_per_s = rate_per_s
        self._start_s = now_s
        self._done = 0

    def pause(self, now_s: float) -> None:
        """Nothing is due any more, bursts included, until there is a rate or a burst again."""
        self.burst = 0
        self.set_rate(0.0, now_s)

    def add_burst(self, events: int) -> int:
        """So many events at once, beside the rate; returns how many were taken, at most BURST_LIMIT wait."""
        taken = min(events, BURST_LIMIT - self.burst)
        self.burst += taken
        return taken

    def due(self, now_s: float) -> int:
        """How many events are due now; the caller reports them with :meth:`traded`."""
        steady = int((now_s - self._start_s) * self.rate_per_s) - self._done
        most = max(1, int(self.rate_per_s * CATCH_UP_S))
        if steady > most:
            self.skipped += steady - most
            self._done += steady - most
            steady = most
        return steady + self.burst

    def traded(self, events: int) -> None:
        """So many of the due events were made."""
        from_burst = min(events, self.burst)
        self.burst -= from_burst
        self._done += events - from_burst

    def skip(self, events: int) -> None:
        """So many of the due events cannot be made: nobody can trade."""
        self.skipped += events
        self.traded(events)

    def wait_s(self, now_s: float) -> float:
        """How long until the next event is due, within limits that keep wake-ups rare and control calls quick."""
        if self.burst:
            return 0.0
        if not self.rate_per_s:
            return LONGEST_WAIT_S
        next_s = self._start_s + (self._done + 1) / self.rate_per_s
        return min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, next_s - now_s))
