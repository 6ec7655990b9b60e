"""Tells the log when a process, or the machine, stood still: one happening a standstill, however many pieces it comes in.

A stop by signal is seen while it lasts: it is told when it has lasted as long as counts, and when it is over. What is found
out afterwards (an event loop that did not run, a machine that was not there) is told at once, and once more when further
pieces have followed without a pause.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from storefleet.run_log import Note, unnoted
from storefleet.verdict.machine import Stall

JOIN_MS: Final = 1_500
"""A piece that begins so soon after the one before goes on with it; every probe looks once a second at least."""


class _Span(NamedTuple):
    cause: str
    from_ms: int
    until_ms: int
    pieces: int


class Standstills:
    """Sans-io: ``hear`` pieces, ``stopped`` and ``running`` of signals; ``look`` now and then for what is over."""

    def __init__(self, note: Note = unnoted) -> None:
        self._note = note
        self._spans: dict[str, _Span] = {}
        self._stops: dict[str, tuple[int, int | None]] = {}
        """Process -> its last stop by signal: from, until; None: it lasts."""

    def stopped(self, process: str, since_ms: int) -> None:
        """It was stopped by a signal, and still is."""
        self._stops[process] = since_ms, None
        self._note("stopped", process, at_ms=since_ms)

    def running(self, process: str, until_ms: int) -> None:
        """It runs again."""
        since_ms, _ = self._stops[process]
        self._stops[process] = since_ms, until_ms
        self._note("running", process, f"after {(until_ms - since_ms) / 1000:.1f} s", at_ms=until_ms)

    def hear(self, stall: Stall) -> None:
        """A piece of a standstill that was noticed afterwards."""
        until_ms = stall.at_ms + round(stall.duration_ms)
        if self._was_stopped(stall.process, stall.at_ms, until_ms):
            return
        before = self._spans.get(stall.process)
        if before is not None and stall.at_ms <= before.until_ms + JOIN_MS:
            from_ms, until_ms = min(before.from_ms, stall.at_ms), max(before.until_ms, until_ms)
            self._spans[stall.process] = _Span(before.cause, from_ms, until_ms, before.pieces + 1)
            return
        self._end(stall.process)
        span = self._spans[stall.process] = _Span(stall.cause, stall.at_ms, until_ms, 1)
        self._tell(stall.process, span, f"{stall.duration_ms / 1000:.1f} s")

    def look(self, now_ms: int) -> None:
        """Tell what is over by now."""
        for process in [process for process, span in self._spans.items() if now_ms > span.until_ms + JOIN_MS]:
            self._end(process)

    def _end(self, process: str) -> None:
        span = self._spans.pop(process, None)
        if span is not None and span.pieces > 1:
            self._tell(
                process, span, f"{(span.until_ms - span.from_ms) / 1000:.1f} s in {span.pieces} pieces, over now"
            )

    def _tell(self, process: str, span: _Span, how_long: str) -> None:
        self._note("standstill", process, f"{how_long} ({span.cause.replace('_', ' ')})", at_ms=span.from_ms)

    def _was_stopped(self, process: str, from_ms: int, until_ms: int) -> bool:
        """Whether this piece is part of a stop that is told by its signals."""
        stop = self._stops.get(process)
        if stop is None:
            return False
        stop_from_ms, stop_until_ms = stop
        return until_ms > stop_from_ms - JOIN_MS and (stop_until_ms is None or from_ms < stop_until_ms + JOIN_MS)
