"""Notes when the machine stood still, by every cause that can be measured here, so that nobody else is blamed for it.

| cause | measured by | counts from |
|---|---|---|
| ``event_loop`` | the lab's own loop, which has little to do | half a second without it |
| ``stopped`` | the clock that runs on while the machine sleeps, against the other (Linux) | half a second |
| ``cpu_steal`` | ``/proc/stat``, once a second (Linux) | half of the CPU time that was wanted in that second |
| ``disk_wait`` | a block, written into the run folder as stages write (:mod:`storefleet.disk_probe`) | half a second |

A lab that was stopped by SIGSTOP, or whose loop was busy with itself, shows as ``event_loop``: no clock tells these from a
machine that gave it no time. A virtual machine that is paused with all its clocks loses no time at all by them. Waiting
for a CPU that others use (``/proc/pressure/cpu``) is recorded for people and excuses nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fleetwire.clock import now_ms
from storefleet.disk_probe import DiskProbe
from storefleet.machine_figures import CpuTimes, cpu_times, stood_still_ms, waited_us
from storefleet.observatory import Observatory
from storefleet.run_clock import slept_s
from storefleet.run_log import Note, unnoted
from storefleet.verdict.host_clock import SMALLEST_STEP_MS
from storefleet.verdict.machine import CAUSES, LAB_PROCESS, Cause, ClockStep, MachineRecord

PROBE_S: Final = 0.1
SAMPLE_S: Final = 1.0
STEP_LIMIT: Final = 100
PROC: Final = Path("/proc")
_READ_LIMIT_BYTES: Final = 4096
_FLOOR_MS: Final = Observatory.STALL_FLOOR_MS


class MachineWatch:
    """Notes stalls in ``observatory``, and what it could measure in ``record``: a new one, or that of an earlier lab."""

    def __init__(
        self,
        observatory: Observatory,
        now_ms: Callable[[], int],
        folder: Path,
        record: MachineRecord | None = None,
        *,
        proc: Path = PROC,
        note: Note = unnoted,
    ) -> None:
        """``folder``: whose disk is probed. ``proc``: where Linux tells its figures. ``note``: hears when a clock is set."""
        self._note_happening = note
        self._observatory = observatory
        self._now_ms = now_ms
        self._proc = proc
        self._disk = DiskProbe(folder, _FLOOR_MS / 1000)
        self.record = record or MachineRecord()
        self.record.measured = measurable(proc)
        self._sampled_s = time.monotonic()
        self._slept_s = slept_s() or 0.0
        self._cpu = _cpu_times(proc)
        self._waited_us = _cpu_waited_us(proc)
        self._ahead_ms = self._host_ahead_ms()
        if ahead_ms := sum(step.step_ms for step in self.record.clock_steps):
            self._note_step(-ahead_ms)  # an earlier lab's clock was so far behind; this one's begins with the host's

    async def run(self) -> None:
        """Watch until cancelled."""
        self._disk.start()
        try:
            while True:
                before_s = time.monotonic()
                await asyncio.sleep(PROBE_S)
                self._look_at_clocks((time.monotonic() - before_s - PROBE_S) * 1000)
                if time.monotonic() - self._sampled_s >= SAMPLE_S:
                    self._sample()
        finally:
            self._disk.stop()

    def _look_at_clocks(self, loop_late_ms: float) -> None:
        if loop_late_ms >= _FLOOR_MS:
            self._note("event_loop", loop_late_ms)
        self._look_at_host_clock()
        slept_before_s, self._slept_s = self._slept_s, max(self._slept_s, slept_s() or 0.0)
        slept_ms = (self._slept_s - slept_before_s) * 1000
        if slept_ms >= _FLOOR_MS:
            self._note("stopped", slept_ms)

    def _look_at_host_clock(self) -> None:
        """Whether somebody has set it: the run's clock never jumps, and the times of events are the host's."""
        ahead_ms = self._host_ahead_ms()
        if self._ahead_ms is None or ahead_ms is None:
            self._ahead_ms = self._ahead_ms if ahead_ms is None else ahead_ms
            return
        step_ms = ahead_ms - self._ahead_ms
        if abs(step_ms) < SMALLEST_STEP_MS:
            return
        self._ahead_ms = ahead_ms
        self._note_step(step_ms)
        self._note_happening("clock_step", LAB_PROCESS, f"by {step_ms / 1000:+.1f} s")

    def _note_step(self, step_ms: int) -> None:
        if len(self.record.clock_steps) < STEP_LIMIT:
            self.record.clock_steps.append(ClockStep(now_ms(), step_ms))

    def _host_ahead_ms(self) -> int | None:
        """How far the host's clock is ahead of the run's; None when the process was held up between one and the other."""
        before_ms, host_ms, after_ms = self._now_ms(), now_ms(), self._now_ms()
        return host_ms - before_ms if after_ms - before_ms < SMALLEST_STEP_MS // 2 else None

    def _sample(self) -> None:
        """What is not worth a look ten times a second."""
        before_s, self._sampled_s = self._sampled_s, time.monotonic()
        window_ms = (self._sampled_s - before_s) * 1000
        self.record.watched_ms += round(window_ms)
        self._look_at_stolen_time(window_ms)
        self._add_waiting()
        for began_s, ended_s in self._disk.waits():
            self._note("disk_wait", (ended_s - began_s) * 1000, ago_ms=(self._sampled_s - began_s) * 1000)
        if self._disk.measures and "disk_wait" not in self.record.measured:
            self.record.measured.append("disk_wait")

    def _look_at_stolen_time(self, window_ms: float) -> None:
        before, self._cpu = self._cpu, _cpu_times(self._proc)
        if before is not None and self._cpu is not None:
            still_ms = stood_still_ms(before, self._cpu, window_ms, os.sysconf("SC_CLK_TCK"))
            if still_ms >= _FLOOR_MS:
                self._note("cpu_steal", still_ms, ago_ms=window_ms)

    def _add_waiting(self) -> None:
        before_us, self._waited_us = self._waited_us, _cpu_waited_us(self._proc)
        if before_us is not None and self._waited_us is not None:
            waited_ms = round(max(0, self._waited_us - before_us) / 1000)
            self.record.cpu_waited_ms = (self.record.cpu_waited_ms or 0) + waited_ms

    def _note(self, cause: Cause, duration_ms: float, *, ago_ms: float | None = None) -> None:
        """It began ``ago_ms`` ago; by default it ends now."""
        began_ms = self._now_ms() - round(duration_ms if ago_ms is None else ago_ms)
        self._observatory.note_stall(LAB_PROCESS, began_ms, duration_ms, cause)


def measurable(proc: Path = PROC) -> list[Cause]:
    """The causes that this platform lets a lab measure, whatever its disk says."""
    can: dict[Cause, bool] = {"stopped": slept_s() is not None, "cpu_steal": _cpu_times(proc) is not None}
    return [cause for cause in CAUSES if cause != "disk_wait" and can.get(cause, True)]


def _cpu_times(proc: Path) -> CpuTimes | None:
    return cpu_times(_text(proc / "stat"))


def _cpu_waited_us(proc: Path) -> int | None:
    return waited_us(_text(proc / "pressure" / "cpu"))


def _text(path: Path) -> str:
    """The beginning of a file; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_READ_LIMIT_BYTES).decode("ascii", "replace")
    except OSError:
        return ""
