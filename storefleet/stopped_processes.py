"""Notes which of the lab's processes were stopped (SIGSTOP, a debugger, a frozen container), and from when until when.

A stage of ours says so itself once it runs again; a broker, and a stage of the user's, never do. Where the platform does not
tell how processes are (no /proc), nothing is noted, and a delay is blamed on a span instead of a process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from storefleet.observatory import Observatory
from storefleet.processes import Child

LOOK_S: Final = 0.25
PIECE_MS: Final = 1_000
PROC: Final = Path("/proc")
STOPPED: Final = frozenset({"T", "t"})


class StoppedProcesses:
    """``await run()`` until cancelled. A long stop is noted piece by piece, so that what lasts to the end is known too."""

    def __init__(self, observatory: Observatory, children: Mapping[str, Child], now_ms: Callable[[], int]) -> None:
        self._observatory = observatory
        self._children = children
        self._now_ms = now_ms
        self._since_ms: dict[str, int] = {}
        """Process -> when the piece began that is not noted yet."""
        self._stopped_ms: dict[str, int] = {}
        """Process -> when the whole stop began."""
        self._told: set[str] = set()
        """Those whose stop has lasted so long that the log has been told."""

    async def run(self) -> None:
        """Look at every process several times a second."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Take notice of who is stopped now, and who is not any more."""
        stopped = {name for name, child in self._children.items() if _state(child) in STOPPED}
        now_ms = self._now_ms()
        self._tell_the_log(stopped, now_ms)
        for name, since_ms in list(self._since_ms.items()):
            over = name not in stopped
            if over or now_ms - since_ms >= PIECE_MS:
                del self._since_ms[name]
                if now_ms - since_ms >= Observatory.STALL_FLOOR_MS:
                    self._observatory.note_stall(name, since_ms, now_ms - since_ms)
        for name in stopped - self._since_ms.keys():
            self._since_ms[name] = now_ms

    def stopped_s(self, name: str) -> float | None:
        """For how long a process has been stopped, seconds; None while it is not."""
        began_ms = self._stopped_ms.get(name)
        return None if began_ms is None else (self._now_ms() - began_ms) / 1000

    def _tell_the_log(self, stopped: set[str], now_ms: int) -> None:
        standstills = self._observatory.standstills
        for name in stopped - self._told:
            since_ms = self._stopped_ms.setdefault(name, now_ms)
            if now_ms - since_ms >= Observatory.STALL_FLOOR_MS:
                self._told.add(name)
                standstills.stopped(name, since_ms)
        for name in self._stopped_ms.keys() - stopped:
            del self._stopped_ms[name]
            if name in self._told:
                self._told.remove(name)
                standstills.running(name, now_ms)


def _state(child: Child) -> str:
    """One letter, as the kernel has it; '' where that is not known."""
    if child.identity is None:
        return ""
    try:
        text = (PROC / str(child.identity.process_id) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].strip()[:1]
