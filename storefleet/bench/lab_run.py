"""A whole lab for a measurement: the real one, conducted from start to verdict, in a folder of its own.

A figure of a run whose verdict is not valid is void: speed without truth is none.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import uvloop

from storefleet.bench.crew import Crew
from storefleet.conductor import Stopped, conduct
from storefleet.lab import Lab
from storefleet.lab_options import make_plan, read_fleet
from storefleet.live import Silent
from storefleet.run import Run
from storefleet.verdict.result import Verdict

READ_INTERVAL_S: Final = 0.1
DRAIN_S: Final = 20.0
LAST_VIEWS: Final = ("poseidon", "views")
"""Stages that hold the event views; the slower one counts."""

Series = list[tuple[float, float]]
"""(seconds, count), ascending."""


def run_lab(
    script: Callable[[Run], Awaitable[None]], fleet_options: dict[str, int], *, bare_hops: bool, crew: Crew
) -> Verdict:
    """Bring a lab up that does not trade yet, let the script have it, drain, judge. Raises KeyboardInterrupt."""
    fleet = read_fleet(None, fleet_options)
    runs = Path(tempfile.mkdtemp(prefix="runs-", dir=crew.folder))
    runs.chmod(0o755)
    plan = make_plan(
        fleet=fleet,
        name=None,
        rate="0/s",
        time_scale=60.0,
        broker="local",
        confirmed_external=False,
        port=0,
        without=(),
        stage=(),
        instances=(),
        runs=runs,
        bare_hops=bare_hops,
    )
    done = False

    async def whole(run: Run) -> None:
        nonlocal done
        await script(run)
        done = True

    def nothing(_: Lab) -> None:
        """Nobody is told."""

    try:
        _, verdict = uvloop.run(conduct(plan, whole, Silent(), password=None, trade=False, on_ready=nothing))
    except Stopped:
        raise KeyboardInterrupt from None
    if not done:
        raise KeyboardInterrupt
    return verdict


def void_note(verdict: Verdict) -> str:
    """Why a run's figures do not count; empty when they do."""
    if verdict.validity == "valid":
        return ""
    reasons = [reason.code for reason in verdict.invalid] + [reason.code for reason in verdict.unknown]
    return f"void: the run's verdict is {verdict.validity} ({', '.join(reasons)})"


async def trade(run: Run, rate_per_s: float) -> None:
    """From now on so many events a second over the whole fleet."""
    await run.lab.stage_call("emulator", "trade", {"rate_per_s": rate_per_s})


class Counts:
    """What was committed and what the last views hold, each at the times of its own snapshots."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.series: dict[str, Series] = {stage: [] for stage in ("emulator", *LAST_VIEWS)}

    async def watch(self, duration_s: float) -> None:
        """Read for so long."""
        deadline_s = asyncio.get_running_loop().time() + duration_s
        while asyncio.get_running_loop().time() < deadline_s:
            self._read()
            await asyncio.sleep(READ_INTERVAL_S)
        self._read()

    def _read(self) -> None:
        seen = self._lab.observatory
        for stage, series in self.series.items():
            figures = seen.instances.get((stage, 1))
            if figures is not None and (not series or figures.at_ms / 1000 > series[-1][0]):
                series.append((figures.at_ms / 1000, float(seen.distinct[stage])))
