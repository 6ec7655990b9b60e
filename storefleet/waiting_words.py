"""What a lab waits for, in one line, for whoever waits with it: its phase, what lacks, and for how long at most."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from fleetwire.errors import FleetError
from storefleet.control_client import ask_lab
from storefleet.run_record import READING_PHASE, STOPPING_PHASE
from storefleet.verdict.run_format import CHECK_PHASE

SETTLED: Final = (READING_PHASE, STOPPING_PHASE, CHECK_PHASE)
"""Views that stop are not what anybody waits for."""
ANSWER_S: Final = 0.7
"""A lab that does not answer at once keeps nobody from saying so."""


def what_it_waits_for(name: str, until_s: float) -> str:
    """Ask the lab; ``until_s``: when the waiting ends at the latest, by the monotonic clock."""
    try:
        said = _words(asyncio.run(asyncio.wait_for(ask_lab(name, "status"), ANSWER_S)))
    except (FleetError, OSError):
        said = "no answer yet"
    return f"{name}: {said}; at most {max(0.0, until_s - time.monotonic()):.0f} s more"


def _words(status: dict[str, Any]) -> str:
    """``wait for recovery: 12 events have no outcome``; behind the last ``;`` the lab counts by its own, shorter limit."""
    picture = status["picture"]
    if status["waiting_for"]:
        return f"waiting until somebody runs {status['waiting_for']}"
    if picture["phase"] in SETTLED:
        return str(picture["phase"])
    off = ", ".join(f"{view} {count}" for view, count in picture["distances"].items() if count)
    said = picture["waiting"].rpartition(";")[0] or picture["waiting"] or (f"off: {off}" if off else "nothing is off")
    return f"{picture['phase']}: {said}"
