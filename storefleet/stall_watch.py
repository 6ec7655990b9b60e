"""Notes when the lab's own event loop did not run: the best witness for a machine that stood still.

The lab's loop has little to do, so half a second without it is the machine's fault, or the lab's own; either way nobody
else is to blame for what came late then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from storefleet.observatory import Observatory
from storefleet.verdict.views import LAB_PROCESS

PROBE_S: Final = 0.1


async def watch_own_loop(observatory: Observatory, now_ms: Callable[[], int]) -> None:
    """Note every stall of this loop that the observatory would note of a stage's; runs until cancelled."""
    while True:
        before_s = time.monotonic()
        await asyncio.sleep(PROBE_S)
        stall_ms = (time.monotonic() - before_s - PROBE_S) * 1000
        if stall_ms >= observatory.STALL_FLOOR_MS:
            observatory.note_stall(LAB_PROCESS, now_ms() - round(stall_ms), stall_ms)
