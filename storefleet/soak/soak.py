"""One soak from start to report: a small lab, schedule after schedule until it is enough, its verdict, the figures.

A lab that does not converge is ended, and judged; the next schedule gets a new one. Whatever ends a soak, short of a
SIGKILL, none of its labs is left running.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from fleetwire.errors import FleetError, SettingsError
from storefleet.conductor import Stopped
from storefleet.plan import new_name
from storefleet.soak.drawn import play_drawn
from storefleet.soak.driven_lab import DrivenLab
from storefleet.soak.figures import Watch, growth
from storefleet.soak.order import Order
from storefleet.soak.play import Played, play
from storefleet.soak.report import SOAK_FILE_NAME, Failure, JudgedLab, Report, convergence_of, hits_of
from storefleet.soak.schedule import Step, schedule_text
from storefleet.verdict.result import worst

FLEET_FILE: Final = "keep_alive_s = 4\n"
"""Terminals notice within seconds that their broker does not answer."""
SNAPSHOT_INTERVAL_S: Final = 1.0
"""So often every stage tells what it has taken: a backlog that is looked at sooner is partly news that is under way."""

Say = Callable[[str], None]


class Soak:
    """A soak on its way: the lab that it drives now, and what has come of it so far."""

    def __init__(self, order: Order, runs: Path, runner: asyncio.Runner, say: Say) -> None:
        self.played: list[Played] = []
        self.labs: list[JudgedLab] = []
        self._order = order
        self._runs = runs
        self._runner = runner
        self._say = say
        self._lab: DrivenLab | None = None
        self._watch = Watch()
        self._watching: asyncio.Task[None] | None = None
        self._began_s = time.monotonic()

    @property
    def has_begun(self) -> bool:
        """Whether a lab has come up."""
        return self._lab is not None or bool(self.labs)

    def run(self) -> None:
        """Bring a lab up and play; raises FleetError where none comes up."""
        self._runner.run(self._attach())
        begun_s = time.monotonic()
        for steps in self._order.given:
            self._play(steps)
        given = len(self.played)
        play_drawn(
            self._play,
            root=self._order.seed,
            longest_pause_s=self._order.longest_pause_s,
            enough=lambda: self._order.enough(len(self.played) - given, time.monotonic() - begun_s),
            shrink=self._order.shrink,
        )

    def _play(self, steps: list[Step]) -> bool:
        return self._runner.run(self._play_one(steps))

    async def _attach(self) -> DrivenLab:
        """The lab that runs, or a new one."""
        if self._lab is None:
            lab = DrivenLab(new_name(), self._runs)
            self._say(f"lab {lab.name}: {self._order.stores} stores, {self._order.rate}; starting")
            try:
                with tempfile.NamedTemporaryFile("w", suffix=".toml") as fleet:
                    fleet.write(FLEET_FILE)
                    fleet.flush()
                    await lab.up([*self._order.lab_options(), "--fleet", fleet.name])
            except BaseException:
                lab.end()
                raise
            self._lab = lab
            self._watching = asyncio.create_task(self._watch.run(lab), name="soak.figures")
        return self._lab

    async def _play_one(self, steps: list[Step]) -> bool:
        """Whether the lab came out of it in time."""
        lab = await self._attach()
        index = len(self.played)
        self._say(f"schedule {index}: {schedule_text(steps)}")
        played = await play(lab, index, steps, self._order.limit_s)
        self.played.append(played)
        self._say(f"schedule {index}: {played.failure or f'converged after {played.took_ms / 1000:.1f} s'}")
        if played.problem:
            await self.judge()
        elif not played.failure:
            await asyncio.sleep(SNAPSHOT_INTERVAL_S)
            await self._watch.take(lab, settled=True)
        return not played.failure

    async def judge(self) -> None:
        """End the lab that runs, if one does, and keep its verdict."""
        if self._lab is None:
            return
        await self._look_away()
        validity, words = await self._lab.down()
        self._say(words.rstrip())
        self.labs.append(JudgedLab(run_folder=str(self._lab.run_folder), validity=validity))
        self._lab = None

    async def _look_away(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
            if not self._watching.cancelled():
                self._watching.result()  # raises what ended it
            self._watching = None

    def end(self) -> None:
        """Leave nothing running, whatever came in between."""
        if self._lab is not None:
            self._lab.end()

    def report(self) -> Report:
        """What was found; also written as ``soak.json`` into the last lab's run folder. Raises SettingsError."""
        order = self._order
        report = Report(
            seed=order.seed,
            command=order.command(drawn=max(0, len(self.played) - len(order.given))),
            labs=self.labs,
            validity=worst(lab.validity for lab in self.labs),
            limit_s=order.limit_s,
            seconds=round(time.monotonic() - self._began_s, 1),
            schedules=self.played,
            hits=hits_of(self.played),
            convergence=convergence_of(self.played),
            growth=growth(self._watch.samples),
            failures=[
                Failure(index=one.index, why=one.failure, command=order.command_alone(one.steps))
                for one in self.played
                if one.failure
            ],
        )
        samples = [msgspec.structs.astuple(sample) for sample in self._watch.samples]
        path = Path(self.labs[-1].run_folder) / SOAK_FILE_NAME
        try:
            path.write_bytes(msgspec.json.encode({**msgspec.to_builtins(report), "samples": samples}))
        except OSError as error:
            raise SettingsError(f"cannot write {path}: {error.strerror}") from error
        return report


def soak(order: Order, runs: Path, say: Say) -> Report:
    """Play, judge, report. Raises FleetError when it did not begin, and Stopped after a second Ctrl-C."""
    with asyncio.Runner() as runner:
        course = Soak(order, runs, runner, say)
        try:
            _play_all(course, say)
            runner.run(course.judge())
        except KeyboardInterrupt:
            if not course.has_begun:
                raise
            raise Stopped from None
        finally:
            course.end()
        return course.report()


def list_drawn(order: Order, count: int, say: Say) -> None:
    """Say the first schedules that the order's seed draws.

    It stands here because Hypothesis also draws constants that it finds in the code that is loaded: a soak and a list of
    its schedules have loaded the same.
    """
    said: list[str] = []

    def show(steps: list[Step]) -> bool:
        said.append(schedule_text(steps))
        say(said[-1])
        return True

    play_drawn(show, root=order.seed, longest_pause_s=order.longest_pause_s, enough=lambda: len(said) >= count)


def _play_all(course: Soak, say: Say) -> None:
    """Until it is enough, or somebody interrupts it; raises FleetError or KeyboardInterrupt when nothing began."""
    try:
        course.run()
    except KeyboardInterrupt:
        if not course.has_begun:
            raise
        say("stopping: the lab drains and judges (Ctrl-C again ends it at once)")
    except FleetError as error:
        if not course.has_begun:
            raise
        say(f"no further schedule is played: {error}")
