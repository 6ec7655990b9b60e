"""Plays one schedule against a lab from outside, and times how long every view takes once the last process is back.

Back is a process that runs again, or that was resumed: what it needs to load, to connect and to catch up counts as
convergence. Of the lab itself all processes are back when the last of them runs. Time in which the machine stood still,
by what the lab measured, does not count, but for ``event_loop``: a lab that is busy with itself is what the soak looks for,
and its own loop cannot tell that from a machine that gave it no time.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from fleetwire.errors import ControlError, FleetError
from storefleet.process_identity import ProcessIdentity
from storefleet.soak.driven_lab import DrivenLab, Status
from storefleet.soak.schedule import LONGEST_PAUSE_S, Step
from storefleet.verdict.machine import LAB_PROCESS, Stall, Standstill, total_ms

CONVERGENCE_LIMIT_S: Final = 10.0
PATIENCE_S: Final = 30.0
"""So long the soak waits all the same, to say how late it was."""
BACK_TIMEOUT_S: Final = LONGEST_PAUSE_S + 20.0
"""The lab that is to start a process again may be paused itself."""
GONE_TIMEOUT_S: Final = 10.0
"""The guardian needs two seconds to end what a killed lab has left."""
LOOK_INTERVAL_S: Final = 0.02
ASK_INTERVAL_S: Final = 0.1
FLEET: Final = "fleet"
"""Stands beside the views: every terminal is online."""


class Played(Struct, kw_only=True):
    """One schedule, and how the lab came out of it."""

    index: int
    steps: list[Step]
    limit_s: float = CONVERGENCE_LIMIT_S
    converged_ms: dict[str, int] = field(default_factory=dict)
    """View -> since the last process was back; the fleet stands among them."""
    hit: list[Step] = field(default_factory=list)
    """Those of the steps that hit their process: a schedule may break off before the others."""
    stalled_ms: int = 0
    """How long the machine stood still meanwhile, by causes that a lab cannot make."""
    problem: str = ""
    """Why it has not converged at all, e.g. a view that did not come, a process that was not back."""

    @property
    def took_ms(self) -> int:
        """The slowest view's time, less what the machine stood still."""
        return max(0, max(self.converged_ms.values(), default=0) - self.stalled_ms)

    @property
    def failure(self) -> str:
        """Why this schedule counts as failed; empty when it does not."""
        if self.problem:
            return self.problem
        if self.took_ms > self.limit_s * 1000:
            late = {view: ms for view, ms in self.converged_ms.items() if ms > self.limit_s * 1000}
            return f"converged later than {self.limit_s:g} s: {late} ms, the machine stood {self.stalled_ms} ms"
        return ""


async def play(lab: DrivenLab, index: int, steps: list[Step], limit_s: float) -> Played:
    """Play one schedule and wait until everything agrees again, at most for PATIENCE_S or the limit."""
    played = Played(index=index, steps=steps, limit_s=limit_s)
    began_s = time.monotonic()
    try:
        back_s = max(await _together(*(_suffer(lab, step, began_s, played.hit) for step in steps)))
        await _converge(lab, played, back_s)
    except FleetError as error:
        played.problem = str(error)
    return played


async def _together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of all; the first that fails ends the others, and what it raised is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _suffer(lab: DrivenLab, step: Step, began_s: float, did: list[Step]) -> float:
    """One step at its time, or as soon as its process is there; returns when what it hit was back. Raises FleetError.

    A step that hit its process is entered into ``did``.
    """
    await asyncio.sleep(max(0.0, began_s + step.at_s - time.monotonic()))
    await lab.attached.wait()
    hit = await _alive(lab, step)
    did.append(step)
    if step.kind == "pause":
        hit.signal_group(signal.SIGSTOP)
        try:
            await asyncio.sleep(step.duration_s)
        finally:
            hit.signal_group(signal.SIGCONT)
        return time.monotonic()
    if step.process == LAB_PROCESS:
        return await _kill_lab(lab)
    hit.signal_group(signal.SIGKILL if step.kind == "kill" else signal.SIGTERM)
    return await _started_again(lab, {step.process: hit}, str(step))


async def _kill_lab(lab: DrivenLab) -> float:
    """Kill it, let its guardian end the rest, take it up again; returns when the last of its processes ran again."""
    before = lab.identities()
    lab.attached.clear()
    try:
        before[LAB_PROCESS].signal_group(signal.SIGKILL)
        await _until(
            lab,
            lambda: not any(identity.alive() for identity in before.values()),
            GONE_TIMEOUT_S,
            lambda: f"a killed lab left processes running for {GONE_TIMEOUT_S:g} s",
        )
        back = _started_again(lab, before, "the lab was killed and taken up again")
        back_s: float = (await _together(back, lab.take_up_again()))[0]
        return back_s
    finally:
        lab.attached.set()


async def _alive(lab: DrivenLab, step: Step) -> ProcessIdentity:
    """The process as it runs now; raises FleetError when it does not for long."""

    def runs() -> bool:
        found = lab.identities().get(step.process)
        return found is not None and found.alive()

    await _until(
        lab, runs, BACK_TIMEOUT_S, lambda: f"{step.process} did not run for {BACK_TIMEOUT_S:g} s before: {step}"
    )
    return lab.identities()[step.process]


async def _started_again(lab: DrivenLab, before: Mapping[str, ProcessIdentity], what: str) -> float:
    """Wait until all of them run under another identity; returns when. Raises FleetError that names the others."""

    def missing() -> list[str]:
        now = lab.identities()
        return [name for name, old in before.items() if now.get(name, old) == old or not now[name].alive()]

    await _until(
        lab,
        lambda: not missing(),
        BACK_TIMEOUT_S,
        lambda: f"{', '.join(missing())} not back {BACK_TIMEOUT_S:g} s after: {what}",
    )
    return time.monotonic()


async def _until(lab: DrivenLab, condition: Callable[[], bool], timeout_s: float, otherwise: Callable[[], str]) -> None:
    """Look again and again; raises FleetError that says what is otherwise, and when the lab has died of itself."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise FleetError(otherwise())
        if lab.attached.is_set() and not lab.alive:
            raise FleetError(f"lab {lab.name} died")
        await asyncio.sleep(LOOK_INTERVAL_S)


# -- after the faults ------------------------------------------------------------------------------------------------


async def _converge(lab: DrivenLab, played: Played, back_s: float) -> None:
    """Fill in how long each view took, and the fleet; raises FleetError with what has not come in time."""
    patience_s = max(PATIENCE_S, played.limit_s)
    back_ms = _unix_ms(back_s)
    await _asked(lab, _unready, back_s, patience_s)
    answers_ms = await lab.converged(max(1.0, back_s + patience_s - time.monotonic()))
    begin_ms = (time.monotonic() - back_s) * 1000 - max(answers_ms.values(), default=0)
    played.converged_ms = {view: round(begin_ms + took_ms) for view, took_ms in answers_ms.items()}
    status = await _asked(lab, lambda status: _offline(status, back_ms), back_s, patience_s)
    played.converged_ms[FLEET] = round((time.monotonic() - back_s) * 1000)
    played.stalled_ms = machine_ms(status.stalls, back_ms)


def machine_ms(stalls: Sequence[Stall], since_ms: int) -> int:
    """How long the machine stood still since then, by causes that no lab makes by being busy with itself."""
    by_cause = Standstill(stalls).by_cause(from_ms=since_ms)
    by_cause.pop("event_loop", None)
    return round(total_ms(by_cause))


async def _asked(lab: DrivenLab, lack: Callable[[Status], str], back_s: float, patience_s: float) -> Status:
    """Ask for the status until nothing is lacking; raises FleetError with what lacked at last."""
    lacking = "the lab does not answer"
    while True:
        with contextlib.suppress(ControlError):
            status = await lab.status()
            lacking = lack(status)
            if not lacking:
                return status
        if time.monotonic() > back_s + patience_s:
            raise FleetError(f"not converged {patience_s:g} s after the last process was back: {lacking}")
        await asyncio.sleep(ASK_INTERVAL_S)


def _unready(status: Status) -> str:
    unready = [name for name, process in status.processes.items() if not process.ready]
    return f"not ready: {', '.join(unready)}" if unready else ""


def _offline(status: Status, since_ms: int) -> str:
    """Empty once every terminal is online by what the emulator said after ``since_ms``."""
    terminals = status.terminals
    if terminals.at_ms >= since_ms and terminals.online >= terminals.of:
        return ""
    return f"{terminals.online} of {terminals.of} terminals online"


def _unix_ms(monotonic_s: float) -> int:
    """A moment of the monotonic clock as the lab writes times down."""
    return round((time.time() - (time.monotonic() - monotonic_s)) * 1000)
