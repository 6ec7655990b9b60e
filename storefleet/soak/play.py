"""Plays schedules against a running lab and times, for each, how long every view takes once the last process is back.

Back is a process that runs again, or that was resumed: what it needs to load, to connect and to catch up counts as
convergence. Time that the lab's own loop stood still does not: then the machine was to blame.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from fleetwire.errors import ControlError, FleetError
from storefleet.convergence import RESOLUTION_MS
from storefleet.processes import Child
from storefleet.run import Run
from storefleet.soak.schedule import Step
from storefleet.verdict.views import LAB_PROCESS

CONVERGENCE_LIMIT_S: Final = 10.0
PATIENCE_S: Final = 30.0
"""So long the soak waits all the same, to say how late it was."""
BACK_TIMEOUT_S: Final = 20.0
FLEET: Final = "fleet"
"""Stands beside the views: every terminal is online."""

_log = logging.getLogger(__name__)


class Played(Struct, kw_only=True):
    """One schedule, and how the lab came out of it."""

    index: int
    steps: list[Step]
    converged_ms: dict[str, int] = field(default_factory=dict)
    """View -> since the last process was back; the fleet stands among them."""
    missing: list[str] = field(default_factory=list)
    """Views that did not come at all."""
    stalled_ms: int = 0
    """How long the lab's own loop stood still meanwhile."""
    problem: str = ""
    """What went wrong beside that, e.g. a process that did not end."""

    @property
    def took_ms(self) -> int:
        """The slowest view's time, less what the machine stood still."""
        return max(0, max(self.converged_ms.values(), default=0) - self.stalled_ms)

    @property
    def failure(self) -> str:
        """Why this schedule counts as failed; empty when it does not."""
        if self.problem:
            return self.problem
        if self.missing:
            return f"not converged within {PATIENCE_S:g} s: {', '.join(self.missing)}"
        if self.took_ms > CONVERGENCE_LIMIT_S * 1000:
            late = {view: ms for view, ms in self.converged_ms.items() if ms > CONVERGENCE_LIMIT_S * 1000}
            return f"converged later than {CONVERGENCE_LIMIT_S:g} s: {late} ms, the machine stood {self.stalled_ms} ms"
        return ""


async def play(run: Run, index: int, steps: list[Step]) -> Played:
    """Play one schedule and wait until everything agrees again, at most for PATIENCE_S."""
    played = Played(index=index, steps=steps)
    run.enter("faults on")
    run.display.say(f"schedule {index}: {'; '.join(map(str, steps))}")
    try:
        back_s = await _all_back(run, steps)
        run.enter("wait for recovery")
        await _converge(run, played, back_s)
    except FleetError as error:
        played.problem = str(error)
    finally:
        run.enter("trading")
    said = played.failure or f"converged after {played.took_ms / 1000:.1f} s"
    run.display.say(f"schedule {index}: {said}")
    return played


async def _all_back(run: Run, steps: list[Step]) -> float:
    """Do what the steps say; returns when the last process was back. Raises FleetError once all are done."""
    began_s = time.monotonic()
    backs_s: list[float] = []
    for back_s in await asyncio.gather(*(_suffer(run, step, began_s) for step in steps), return_exceptions=True):
        if isinstance(back_s, BaseException):
            raise back_s
        backs_s.append(back_s)
    return max(backs_s)


async def _suffer(run: Run, step: Step, began_s: float) -> float:
    """One step at its time; returns when its process was back, by the monotonic clock. Raises FleetError."""
    processes = run.lab.processes
    child = processes.children[step.process]
    await asyncio.sleep(max(0.0, began_s + step.at_s - time.monotonic()))
    if step.kind == "pause":
        processes.pause(step.process)
        try:
            await asyncio.sleep(step.duration_s)
        finally:
            processes.resume(step.process)
        return time.monotonic()
    incarnation = child.incarnation
    (processes.kill if step.kind == "kill" else processes.terminate)(step.process)
    return await _until_back(child, incarnation, str(step))


async def _until_back(child: Child, incarnation: int, what: str) -> float:
    deadline_s = time.monotonic() + BACK_TIMEOUT_S
    while child.incarnation == incarnation or not child.running:
        if time.monotonic() > deadline_s:
            raise FleetError(f"{child.name} was not back {BACK_TIMEOUT_S:g} s after: {what}")
        await asyncio.sleep(0.01)
    return time.monotonic()


async def _converge(run: Run, played: Played, back_s: float) -> None:
    """Fill in how long each view took; a fleet that is not whole is waited for first, as views are compared with it."""
    deadline_s = back_s + PATIENCE_S
    back_ms = run.clock.now_ms() - round((time.monotonic() - back_s) * 1000)
    whole = await _until(lambda: _all_ready(run), deadline_s) and await _until_online(run, deadline_s)
    if whole:
        played.converged_ms[FLEET] = run.clock.now_ms() - back_ms
        recovery = await run.wait_recovery(max(1.0, deadline_s - time.monotonic()))
        played.converged_ms |= {view: at_ms - back_ms for view, at_ms in recovery.converged_ms.items()}
        played.missing = sorted(recovery.views - recovery.converged_ms.keys())
    else:
        played.missing = [f"{FLEET} ({_not_whole(run)})"]
    played.stalled_ms = _stalled_ms(run, back_ms)


async def _until(condition: Callable[[], bool], deadline_s: float) -> bool:
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(RESOLUTION_MS / 1000)
    return True


async def _until_online(run: Run, deadline_s: float) -> bool:
    """Wait until the emulator says itself, asked now, that every terminal is online."""
    while time.monotonic() <= deadline_s:
        try:
            snapshots = await run.lab.stage_call("emulator", "full_snapshot", timeout_s=5.0)
        except ControlError as error:
            _log.debug("while the fleet comes back: %s", error)
            snapshots = []
        for snapshot in snapshots:
            run.lab.observatory.receive(snapshot)
        if snapshots and run.lab.observatory.total("emulator", "online") >= run.lab.plan.terminals:
            return True
        await asyncio.sleep(RESOLUTION_MS / 1000)
    return False


def _unready(run: Run) -> list[str]:
    """Stages whose newest incarnation has not said that it is ready."""
    members = {f"{member.stage}-{member.instance}": member for member in run.lab.control.members.values()}
    return [
        name
        for name, child in run.lab.processes.children.items()
        if not name.startswith("broker-")
        and (name not in members or not members[name].ready or members[name].incarnation != child.incarnation)
    ]


def _all_ready(run: Run) -> bool:
    return not _unready(run)


def _not_whole(run: Run) -> str:
    unready = _unready(run)
    if unready:
        return f"not ready: {', '.join(unready)}"
    return f"{run.lab.observatory.total('emulator', 'online'):.0f} of {run.lab.plan.terminals} terminals online"


def _stalled_ms(run: Run, since_ms: int) -> int:
    stalls = run.lab.observatory.stalls
    return round(sum(s.duration_ms for s in stalls if s.process == LAB_PROCESS and s.at_ms >= since_ms))
