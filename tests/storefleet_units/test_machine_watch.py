"""The lab's watch over its machine: every cause is noted with its time and figure, and what is healthy is not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storefleet import machine_watch
from storefleet.disk_probe import DiskProbe
from storefleet.machine_watch import MachineWatch, measurable
from storefleet.observatory import Observatory
from storefleet.run_clock import RunClock, slept_s
from storefleet.verdict.machine import ClockStep, MachineRecord, Stall
from tests.lab.command_line import REPOSITORY
from tests.storefleet_units.noted import Noted
from tests.storefleet_units.test_machine_figures import PRESSURE, STAT

DEADLINE_S = 30.0


@pytest.fixture
def observatory(tmp_path: Path) -> Iterator[Observatory]:
    """An observatory that has noted nothing."""
    found = Observatory(tmp_path / "witnesses.jsonl")
    yield found
    found.close()


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A ``/proc`` of the test's own, with real texts."""
    folder = tmp_path / "proc"
    (folder / "pressure").mkdir(parents=True)
    (folder / "stat").write_text(STAT, encoding="ascii")
    (folder / "pressure" / "cpu").write_text(PRESSURE, encoding="ascii")
    return folder


@contextmanager
def watching(watch: MachineWatch) -> Iterator[None]:
    """The watch runs meanwhile."""
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, bounded."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def of_cause(observatory: Observatory, cause: str) -> list[Stall]:
    """What was noted under this cause; a loaded machine may add others."""
    return [stall for stall in observatory.stalls if stall.cause == cause]


async def test_the_labs_own_standstill_is_noted(observatory: Observatory, tmp_path: Path) -> None:
    """When the lab's own loop does not run for half a second, that is noted under its name, from its beginning on."""
    clock = RunClock()
    with watching(MachineWatch(observatory, clock.now_ms, tmp_path)):
        await asyncio.sleep(0)
        began_ms = clock.now_ms()
        time.sleep(0.8)  # noqa: ASYNC251 - the standstill itself
        await until(lambda: of_cause(observatory, "event_loop"))
    stall = of_cause(observatory, "event_loop")[0]
    assert stall.process == "lab"
    assert stall.at_ms >= began_ms - 100
    assert stall.duration_ms >= 500


async def test_stolen_time_is_noted(observatory: Observatory, tmp_path: Path, proc: Path) -> None:
    """A second in which the hypervisor ran somebody else is noted from its beginning on, never longer than it was."""
    clock = RunClock()
    began_ms = clock.now_ms()
    watch = MachineWatch(observatory, clock.now_ms, tmp_path, proc=proc)
    stolen = 653 + 100 * os.sysconf("SC_CLK_TCK")
    (proc / "stat").write_text(STAT.replace(" 653 ", f" {stolen} "), encoding="ascii")
    with watching(watch):
        await until(lambda: of_cause(observatory, "cpu_steal"))
        await until(lambda: watch.record.watched_ms >= 3_000)
    (stall,) = of_cause(observatory, "cpu_steal")
    assert stall.process == "lab"
    assert stall.at_ms >= began_ms - 10
    assert 1_000 <= stall.duration_ms <= clock.now_ms() - began_ms


async def test_a_machine_that_slept_is_noted(
    observatory: Observatory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time that only the clock which runs on in sleep has counted is a standstill; jitter between two clocks is none."""
    slept = iter([5.0, 5.0, 4.2, 5.0, 5.3, 68.3])
    last = 68.3
    monkeypatch.setattr(machine_watch, "slept_s", lambda: next(slept, last))
    clock = RunClock()
    began_ms = clock.now_ms()
    watch = MachineWatch(observatory, clock.now_ms, tmp_path)
    with watching(watch):
        await until(lambda: of_cause(observatory, "stopped"))
        await until(lambda: watch.record.watched_ms >= 1_000)
    (stall,) = of_cause(observatory, "stopped")
    assert stall.duration_ms == pytest.approx(63_000.0)
    assert stall.at_ms >= began_ms - 63_000


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has a clock that runs on in sleep")
def test_the_runs_clock_runs_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an hour of sleep the run's times still stand beside the host's, and the hour is known for what it was."""
    clock = RunClock()
    before_ms, slept_before_s = clock.now_ms(), slept_s()
    real = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda which: real(which) + 3_600 * (which == time.CLOCK_BOOTTIME))
    assert clock.now_ms() >= before_ms + 3_600_000
    slept_after_s = slept_s()
    assert slept_before_s is not None
    assert slept_after_s is not None
    assert slept_after_s - slept_before_s == pytest.approx(3_600.0, abs=60.0)


class HangingProbe(DiskProbe):
    """Writes that hang while ``gate`` is closed."""

    def __init__(self, folder: Path, floor_s: float) -> None:
        super().__init__(folder, floor_s)
        self.gate = threading.Event()

    def write(self) -> None:
        """One block, once the gate is open."""
        self.gate.wait(DEADLINE_S)
        super().write()


async def test_a_write_that_hangs_is_noted_while_it_hangs(
    observatory: Observatory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that does not answer shows as it goes on, each moment once, and holds up neither the loop nor the end."""
    monkeypatch.setattr(machine_watch, "DiskProbe", HangingProbe)
    clock = RunClock()
    began_ms = clock.now_ms()
    watch = MachineWatch(observatory, clock.now_ms, tmp_path)
    probe = watch._disk
    assert isinstance(probe, HangingProbe)
    with watching(watch):
        await until(lambda: len(of_cause(observatory, "disk_wait")) >= 2)
    assert "disk_wait" in watch.record.measured
    pieces = of_cause(observatory, "disk_wait")
    assert pieces[0].at_ms >= began_ms - 10
    assert pieces[0].duration_ms >= 500
    assert sum(piece.duration_ms for piece in pieces) <= clock.now_ms() - began_ms + 10, "no moment is told twice"
    assert not probe.gate.is_set(), "the watch has ended, the write has not"
    probe.gate.set()


def test_a_write_that_came_back_is_told_once(tmp_path: Path) -> None:
    """The whole of a wait is told in pieces that do not overlap; a write that was quick is not told."""
    probe = HangingProbe(tmp_path, floor_s=0.1)
    probe.start()
    deadline_s = time.monotonic() + DEADLINE_S
    told: list[tuple[float, float]] = []
    while not told and time.monotonic() < deadline_s:
        told += probe.waits()
    opened_s = time.monotonic()
    probe.gate.set()
    while probe._written < 3 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    probe.stop()
    assert probe._written >= 3
    told += probe.waits()
    (began_s, told_until_s), (from_s, until_s) = told[:2]
    assert told_until_s - began_s >= 0.1
    assert from_s == told_until_s
    assert until_s >= opened_s


async def test_a_disk_without_room_is_no_wait(
    observatory: Observatory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that is refused excuses nothing, and where none ever succeeded nothing is said to be measured."""
    attempts = 0

    def refuse(*_: object) -> int:
        nonlocal attempts
        attempts += 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    watch = MachineWatch(observatory, RunClock().now_ms, tmp_path)
    with watching(watch):
        await until(lambda: attempts >= 3 and watch.record.watched_ms >= 1_000)
    assert of_cause(observatory, "disk_wait") == []
    assert "disk_wait" not in watch.record.measured


def test_a_write_that_is_refused_late_is_no_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a disk took to refuse: an error is no wait; a write that succeeds in the same time is one."""
    probe = DiskProbe(tmp_path, floor_s=0.0)

    def refuse() -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(probe, "write", refuse)
        probe._time_one()
    assert (probe.waits(), probe.measures) == ([], False)
    monkeypatch.setattr(probe, "write", lambda: None)
    probe._time_one()
    assert len(probe.waits()) == 1


def test_no_step_where_the_process_was_held_up(
    observatory: Observatory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clocks are read one after the other: a second that passes in between is a step of neither."""
    held_up_ms, run_ms = [0, 0, 1_000, 0], [0]

    def host_ms() -> int:
        read_ms = 7_000_000 + run_ms[0]
        run_ms[0] += held_up_ms.pop(0)
        return read_ms

    monkeypatch.setattr("storefleet.machine_watch.now_ms", host_ms)
    watch = MachineWatch(observatory, lambda: run_ms[0], tmp_path)
    while held_up_ms:
        watch._look_at_host_clock()
    assert watch.record.clock_steps == []


async def test_the_probe_leaves_nothing_behind(observatory: Observatory, tmp_path: Path) -> None:
    """The block's file has no name, so that a run folder holds the run's files only."""
    watch = MachineWatch(observatory, RunClock().now_ms, tmp_path)
    with watching(watch):
        await until(lambda: "disk_wait" in watch.record.measured)
        assert os.listdir(tmp_path) == ["witnesses.jsonl"]  # noqa: PTH208 - one quick look


def test_a_step_of_the_hosts_clock_is_noted_with_its_moment(
    observatory: Observatory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, ahead and back, by what the host's clock shows then; the next lab begins where the host's clock is."""
    clock, host_ms = RunClock(), [1_000_000]
    monkeypatch.setattr(machine_watch, "now_ms", lambda: host_ms[0])
    noted = Noted()
    watch = MachineWatch(observatory, lambda: 1_000_000, tmp_path, note=noted.note)
    for moved_ms in (0, 199, 60_000, 0, -90_000):
        host_ms[0] += moved_ms
        watch._look_at_host_clock()
    assert watch.record.clock_steps == [ClockStep(1_060_199, 60_199), ClockStep(970_199, -90_000)]
    assert noted.told() == [("clock_step", "lab", "by +60.2 s"), ("clock_step", "lab", "by -90.0 s")]
    later = MachineWatch(observatory, clock.now_ms, tmp_path, watch.record)
    assert later.record.clock_steps[2:] == [ClockStep(970_199, 29_801)]


async def test_what_people_may_want_to_know(observatory: Observatory, tmp_path: Path, proc: Path) -> None:
    """Waiting for CPUs is added up over the run, and over its labs, and is no standstill."""
    earlier = MachineRecord(measured=["event_loop"], watched_ms=60_000, cpu_waited_ms=7_000)
    watch = MachineWatch(observatory, RunClock().now_ms, tmp_path, earlier, proc=proc)
    (proc / "pressure" / "cpu").write_text(PRESSURE.replace("=4619763462", "=4620763462"), encoding="ascii")
    with watching(watch):
        await until(lambda: watch.record.watched_ms > 60_000)
    assert watch.record.cpu_waited_ms == 8_000
    assert of_cause(observatory, "cpu_steal") == []


def test_what_a_platform_does_not_offer_is_not_measured(
    observatory: Observatory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Linux' files and clocks only the loop is left, and the record says so."""
    monkeypatch.setattr(machine_watch, "slept_s", lambda: None)
    watch = MachineWatch(observatory, RunClock().now_ms, tmp_path, proc=tmp_path / "missing")
    watch._sample()
    assert watch.record.measured == ["event_loop"]
    assert watch.record.cpu_waited_ms is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere less can be measured")
def test_what_linux_offers() -> None:
    """All but the disk, which has to be tried, can be measured on any Linux."""
    assert measurable() == ["stopped", "cpu_steal", "event_loop"]


async def test_a_lab_that_was_paused_notes_how_long(tmp_path: Path) -> None:
    """SIGSTOP for two seconds shows as a standstill of the lab's loop, of about that length or longer."""
    script = REPOSITORY / "tests" / "storefleet_units" / "watching_lab.py"
    noted = tmp_path / "stalls.json"
    process = subprocess.Popen([sys.executable, script, tmp_path], stdin=subprocess.PIPE)  # noqa: ASYNC220 - is paused

    def longest_ms() -> float:
        stalls = json.loads(noted.read_text(encoding="utf-8"))
        own = [stall for stall in stalls if (stall["process"], stall["cause"]) == ("lab", "event_loop")]
        return max((stall["duration_ms"] for stall in own), default=0.0)

    try:
        await until(noted.exists)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2.0)
        process.send_signal(signal.SIGCONT)
        await until(lambda: longest_ms() >= 1_800)
    finally:
        process.communicate(timeout=DEADLINE_S)
