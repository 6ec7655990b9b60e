"""``scripts/steadiness``: many small labs one after the other, healthy ones on a machine without time, then suffering ones.

Each is a lab as a user has it: brought up, steered and ended by its commands. What speaks against a run keeps its folder;
the others are removed. However it ends, none of its labs, loops and probes is left running.
"""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final

import msgspec
import typer

from fleetwire import bounded_json
from fleetwire.errors import FleetError
from storefleet.command_output import fail, out, out_json, say_progress
from storefleet.endings import STOPPED
from storefleet.plan import check_runs_folder, new_name
from storefleet.soak.beside import Beside, Standstill
from storefleet.soak.driven_lab import DrivenLab
from storefleet.soak.entry import run_script
from storefleet.soak.interrupted import end_in_order
from storefleet.soak.play import PATIENCE_S, play
from storefleet.soak.schedule import Step, schedule_text
from storefleet.soak.steady_rules import Kind, SteadyRun, broken_rules, summary
from storefleet.verdict.machine import LAB_PROCESS
from storefleet.verdict.result import Verdict
from storefleet.verdict.run_format import PLAN_FILE_NAME, VERDICT_FILE_NAME, Plan

STORES: Final = 6
RATE: Final = "60/s"
FLEET_FILE: Final = "keep_alive_s = 4\n"
"""Terminals notice within seconds that their broker does not answer."""
SCHEDULES: Final = 2
LONGEST_PAUSE_S: Final = 4.0
CONVERGE_WITHIN: Final = "120s"
NEAR_MS: Final = 1_000
"""A standstill of the lab and one of the probe are the same when no more than so much lies between them."""
BURST: Final = (100, 600)
REBUILT: Final = ("sales", "store_board", "device_inventory")
REGIONS: Final = ("north", "south", "east", "west")

Say = Callable[[str], None]


class SteadyReport(msgspec.Struct, kw_only=True):
    """All runs, and the rules that do not hold."""

    seed: int
    summary: str
    broken_rules: list[str]
    standstills: list[Standstill]
    runs: list[SteadyRun]


class Course:
    """The runs on their way, and what came of them so far."""

    def __init__(self, seed: int, trade_s: float, runs: Path, beside: Beside, say: Say) -> None:
        self.runs: list[SteadyRun] = []
        self._seed = seed
        self._trade_s = trade_s
        self._folder = runs
        self._beside = beside
        self._say = say

    async def go(self, *, healthy: int, suffering: int) -> None:
        """All of them, one after the other."""
        if healthy:
            self._say(f"{self._beside.busy()} busy loops beside every healthy lab")
        for number in range(healthy):
            await self._one("healthy", self._seed + number, self._use)
        self._beside.quiet()
        for number in range(suffering):
            await self._one("suffering", self._seed + number, self._hurt)

    async def _one(
        self, kind: Kind, seed: int, script: Callable[[DrivenLab, SteadyRun], Coroutine[Any, Any, None]]
    ) -> None:
        run = SteadyRun(kind=kind, seed=seed)
        lab = DrivenLab(new_name(), self._folder)
        began_s = time.monotonic()
        try:
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as fleet:
                fleet.write(FLEET_FILE)
                fleet.flush()
                options = ["--stores", str(STORES), "--rate", RATE, "--seed", str(seed)]
                await lab.up([*options, "--fleet", fleet.name])
            try:
                await script(lab, run)
            except FleetError as error:
                run.problem = str(error)
            await lab.down()
        except FleetError as error:
            run.problem = run.problem or str(error)
        finally:
            lab.end()
        run.seconds = round(time.monotonic() - began_s, 1)
        if lab.run_folder is not None:
            self._enter(run, lab.run_folder)
        self.runs.append(run)
        self._say(f"{len(self.runs)}: {run}")

    def _enter(self, run: SteadyRun, folder: Path) -> None:
        """What the run folder says; it is removed when there is nothing to look at."""
        try:
            verdict = bounded_json.decode((folder / VERDICT_FILE_NAME).read_bytes(), type=Verdict)
            plan = bounded_json.decode((folder / PLAN_FILE_NAME).read_bytes(), type=Plan)
        except (OSError, msgspec.DecodeError) as error:
            run.problem = run.problem or f"no verdict: {error}"
        else:
            run.validity = verdict.validity
            codes = [reason.code for reason in verdict.invalid] + [reason.code for reason in verdict.unknown]
            run.reasons = list(dict.fromkeys(codes))
            if run.validity == "unknown":
                run.seen = shared(plan, self._beside.standstills())
        if run.validity == "valid" and not run.problem:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            run.run_folder = str(folder)

    async def _use(self, lab: DrivenLab, run: SteadyRun) -> None:
        """What a user does in a few seconds of trade, at moments that the seed gives."""
        draws = Random(run.seed)
        region = draws.choice(REGIONS)
        actions = [
            ("trade", "--burst", str(draws.randint(*BURST))),
            ("trade", "--close", f"*.{region}"),
            ("trade", "--open", f"*.{region}"),
            ("rebuild", draws.choice(REBUILT)),
        ]
        until_s = time.monotonic() + self._trade_s
        for action in actions:
            await asyncio.sleep(draws.uniform(0, self._trade_s / len(actions)))
            await _command(lab, *action, "--name", lab.name)
        await asyncio.sleep(max(0.0, until_s - time.monotonic()))
        await _command(lab, "wait", "--converged", "--timeout", CONVERGE_WITHIN, "--name", lab.name)

    async def _hurt(self, lab: DrivenLab, run: SteadyRun) -> None:
        """Process faults that Hypothesis draws from the seed."""
        for index, steps in enumerate(drawn(run.seed)):
            run.suffered.append(schedule_text(steps))
            played = await play(lab, index, steps, PATIENCE_S)
            if played.problem:
                run.problem = played.problem
                return


async def _command(lab: DrivenLab, *words: str) -> None:
    exit_status, _, errors = await lab.command(*words)
    if exit_status:
        raise FleetError(f"{' '.join(words)}: exit status {exit_status}: {errors.strip()[-300:]}")


def drawn(seed: int) -> list[list[Step]]:
    """The schedules of a seed, but for the first: that one is the simplest there is, whatever the seed."""
    from storefleet.soak.drawn import play_drawn

    schedules: list[list[Step]] = []

    def keep(steps: list[Step]) -> bool:
        schedules.append(steps)
        return True

    play_drawn(keep, root=seed, longest_pause_s=LONGEST_PAUSE_S, enough=lambda: len(schedules) > SCHEDULES)
    return schedules[1:]


def shared(plan: Plan, seen: Sequence[Standstill]) -> list[Standstill]:
    """Those of the probe's standstills that the lab has noted of its machine as well."""
    noted = [stall for stall in plan.stalls if stall.process == LAB_PROCESS]
    return [
        one
        for one in seen
        if any(one.overlaps(stall.at_ms - NEAR_MS, stall.at_ms + stall.duration_ms + NEAR_MS) for stall in noted)
    ]


def command(  # noqa: PLR0917 - a command is a function of its options
    healthy: Annotated[int, typer.Option("--healthy", min=0, max=10_000, help="Healthy labs under load.")] = 30,
    suffering: Annotated[int, typer.Option("--suffering", min=0, max=10_000, help="Labs with process faults.")] = 20,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the first lab of each kind.")] = None,
    trade_for: Annotated[
        float, typer.Option("--trade-for", min=1.0, max=3_600.0, help="Seconds a healthy lab.")
    ] = 10.0,
    runs: Annotated[Path, typer.Option("--runs", help="Folder for run folders.")] = Path("runs"),
    json_output: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Many small labs one after the other: healthy ones beside busy loops, then ones whose processes suffer."""
    if importlib.util.find_spec("hypothesis") is None:
        fail("it needs Hypothesis: pip install 'storefleet[development]', or run scripts/steadiness, which does it")
    first = secrets.randbelow(1_000_000) if seed is None else seed
    say = say_progress if json_output else out
    folder = check_runs_folder(runs)
    end_in_order()
    say(f"steadiness: seed {first}; {healthy} healthy, {suffering} suffering labs")
    try:
        with Beside() as beside:
            course = Course(first, trade_for, folder, beside, say)
            asyncio.run(course.go(healthy=healthy, suffering=suffering))
            report = _report(first, course, beside)
    except KeyboardInterrupt:
        fail("stopped; nothing is left running", STOPPED)
    if json_output:
        out_json(report)
    say(f"{report.summary}; the probe saw {len(report.standstills)} standstills")
    for rule in report.broken_rules:
        say(f"BROKEN: {rule}")
    raise SystemExit(bool(report.broken_rules))


def _report(seed: int, course: Course, beside: Beside) -> SteadyReport:
    return SteadyReport(
        seed=seed,
        summary=summary(course.runs),
        broken_rules=list(broken_rules(course.runs)),
        standstills=beside.standstills(),
        runs=course.runs,
    )


if __name__ == "__main__":
    run_script(command, "scripts/steadiness", interrupted_status=STOPPED)
