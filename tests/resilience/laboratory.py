"""A whole lab in this process: real stages as real processes, a script that breaks them, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from emulator.fleet import Fleet
from storefleet.lab import Lab
from storefleet.lab_options import make_plan
from storefleet.live import Silent
from storefleet.plan import LabPlan
from storefleet.run import Run
from storefleet.run_folders import make_run_folder
from storefleet.verdict.result import Verdict

DEADLINE_S = 40.0


class Played:
    """A run that was judged."""

    def __init__(self, run: Run, verdict: Verdict) -> None:
        self.run = run
        self.verdict = verdict
        self.folder = run.lab.run_folder

    def healed(self) -> dict[str, int]:
        """How many events a re-send made good, by the address where the first sending was lost."""
        accounts = [account for account in self.verdict.places if account.what == "healed"]
        return {" > ".join(account.places): account.count for account in accounts}

    def log(self, process: str) -> str:
        """What a process has written."""
        return (self.folder / "logs" / f"{process}.log").read_text(encoding="utf-8", errors="replace")

    def assert_valid(self) -> None:
        """Everything that was sent arrived as it should, and something was sent."""
        verdict = self.verdict
        found = [*verdict.invalid, *verdict.unknown]
        assert verdict.validity == "valid", (found, verdict.counts, verdict.places, verdict.views)
        assert verdict.counts["ok"] > 0
        assert verdict.sent == sum(verdict.counts.values()) - verdict.invented


def plan_of(folder: Path, *, fleet: dict[str, Any], rate: str, instances: tuple[str, ...] = (), **more: Any) -> LabPlan:
    """A lab's plan with small fleet and quick deadlines unless told otherwise."""
    values: dict[str, Any] = {
        "name": None, "time_scale": 60.0, "broker": "local", "confirmed_external": False, "port": 0, "without": (),
        "stage": (), "runs": folder, "deadline_s": DEADLINE_S, **more,
    }  # fmt: skip
    return make_plan(fleet=Fleet.from_options(**fleet), rate=rate, instances=instances, **values)


@contextlib.asynccontextmanager
async def _at_home(folder: Path) -> AsyncIterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOREFLEET_HOME", str(folder / "home"))
        yield


async def play(
    folder: Path,
    plan: LabPlan,
    script: Callable[[Run], Awaitable[None]],
    *,
    prepare: Callable[[Path], None] = lambda _: None,
    drain_s: float | None = None,
) -> Played:
    """Bring the lab up, let the script break it, wait for recovery (``drain_s``: so long only), judge."""
    async with _at_home(folder):
        run_folder = make_run_folder(Path(plan.runs_folder), plan.name)
        prepare(run_folder)
        run = Run(Lab(plan, run_folder), Silent(), asyncio.Event())
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(run.lab.journal.close)
            await stack.enter_async_context(run.lab)
            run.enter("starting")
            await run.lab.start(trade=True)
            run.enter("trading")
            await script(run)
            return Played(run, await run.finish(drain_s=plan.drain_limit_s if drain_s is None else drain_s))


async def until(condition: Callable[[], object], what: str, *, deadline_s: float = DEADLINE_S) -> None:
    """Let the loop run until the condition holds; fails with its name after the deadline."""
    try:
        async with asyncio.timeout(deadline_s):
            while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {deadline_s:g} s: {what}") from None


async def until_traded(run: Run, events: int) -> None:
    """Wait until so many more events than now are committed."""
    seen = run.lab.observatory
    wanted = seen.distinct["emulator"] + events
    await until(lambda: seen.distinct["emulator"] >= wanted, f"{events} more events are committed")


async def until_running_again(run: Run, name: str, incarnation: int) -> None:
    """Wait until the lab has started a process again that had this incarnation."""
    child = run.lab.processes.children[name]
    await until(lambda: child.incarnation > incarnation and child.running, f"{name} runs again")


async def kill(run: Run, name: str) -> None:
    """kill -9, and wait until it is started again."""
    incarnation = run.lab.processes.children[name].incarnation
    run.lab.processes.kill(name)
    await until_running_again(run, name, incarnation)


def counter(run: Run, stage: str, name: str) -> float:
    """A counter of a stage, summed over its instances, by their newest snapshots."""
    return run.lab.observatory.total(stage, name)


def resident_mb(run: Run, name: str) -> float:
    """Resident memory of a process of the lab."""
    process = run.lab.processes.children[name].process
    assert process is not None
    pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6
