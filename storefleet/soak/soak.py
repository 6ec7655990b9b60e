"""One soak from start to report: a small lab, schedule after schedule until the time is over, the verdict, the figures."""

from __future__ import annotations

import asyncio
import itertools
import shlex
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from msgspec import Struct

from fleetwire.errors import SettingsError
from storefleet.conductor import conduct
from storefleet.lab import Lab
from storefleet.lab_options import make_plan, read_fleet
from storefleet.live import Display
from storefleet.plan import LabPlan
from storefleet.run import Run
from storefleet.soak.figures import Sample, Watch, growth
from storefleet.soak.play import Played, play
from storefleet.soak.report import SOAK_FILE_NAME, Failure, Report, convergence_of, hits_of
from storefleet.soak.schedule import LONGEST_PAUSE_S, schedule
from storefleet.verdict.result import Verdict


class Order(Struct, frozen=True, kw_only=True):
    """What was ordered on the command line. ``schedules`` None: as many as begin within the minutes."""

    minutes: float
    seed: int
    stores: int
    rate: str
    first: int
    schedules: int | None
    longest_pause_s: float = LONGEST_PAUSE_S

    def command(self, *, first: int | None = None, schedules: int | None = None) -> str:
        """The command that plays this again, or only ``schedules`` of it from ``first`` on."""
        count = self.schedules if schedules is None else schedules
        words = ["scripts/soak", "--seed", str(self.seed), "--from", str(self.first if first is None else first)]
        words += ["--minutes", f"{self.minutes:g}"] if count is None else ["--schedules", str(count)]
        words += ["--stores", str(self.stores), "--rate", self.rate]
        if self.longest_pause_s != LONGEST_PAUSE_S:
            words += ["--longest-pause", f"{self.longest_pause_s:g}"]
        return shlex.join(words)


def plan_of(order: Order, runs: Path) -> LabPlan:
    """The lab that the order asks for; raises SettingsError."""
    schedule(order.seed, order.first, longest_pause_s=order.longest_pause_s)
    return make_plan(
        fleet=read_fleet(None, {"stores": order.stores, "seed": order.seed, "keep_alive_s": 4}),
        name=None,
        rate=order.rate,
        time_scale=60.0,
        broker="local",
        confirmed_external=False,
        port=0,
        without=(),
        stage=(),
        instances=(),
        runs=runs,
    )


async def soak(order: Order, plan: LabPlan, display: Display) -> tuple[Report, Verdict]:
    """Play, judge, and leave ``soak.json`` in the run folder. Raises what :func:`storefleet.conductor.conduct` raises."""
    schedules: list[Played] = []
    samples: list[Sample] = []
    began_s = time.monotonic()

    async def script(run: Run) -> None:
        watch = Watch(run.lab, samples)
        watching = asyncio.create_task(watch.run(), name="soak.figures")
        try:
            async for played in _all_played(run, order):
                schedules.append(played)
                if not played.failure:
                    watch.take(settled=True)
        finally:
            watching.cancel()

    def nothing(_: Lab) -> None:
        """Nobody joins."""

    folder, verdict = await conduct(plan, script, display, password=None, trade=True, on_ready=nothing)
    report = Report(
        seed=order.seed,
        command=order.command(schedules=len(schedules) or None),
        run_folder=str(folder),
        validity=verdict.validity,
        seconds=round(time.monotonic() - began_s, 1),
        schedules=schedules,
        hits=hits_of(schedules),
        convergence=convergence_of(schedules),
        growth=growth(samples),
        failures=[_failure(order, played) for played in schedules if played.failure],
    )
    _write(report, samples, folder)
    return report, verdict


async def _all_played(run: Run, order: Order) -> AsyncIterator[Played]:
    """One schedule after the other, until as many are played as were ordered or the time is over."""
    deadline_s = time.monotonic() + 60.0 * order.minutes
    for index in itertools.count(order.first):
        count = index - order.first
        if time.monotonic() >= deadline_s if order.schedules is None else count >= order.schedules:
            return
        yield await play(run, index, schedule(order.seed, index, longest_pause_s=order.longest_pause_s))


def _failure(order: Order, played: Played) -> Failure:
    command = order.command(first=played.index, schedules=1)
    return Failure(index=played.index, why=played.failure, command=command)


def _write(report: Report, samples: list[Sample], folder: Path) -> None:
    value = {**msgspec.to_builtins(report), "samples": [msgspec.structs.astuple(sample) for sample in samples]}
    try:
        (folder / SOAK_FILE_NAME).write_bytes(msgspec.json.encode(value))
    except OSError as error:
        raise SettingsError(f"cannot write {SOAK_FILE_NAME} into {folder}: {error.strerror}") from error
