"""``storefleet selftest``: which run, how many plants, what is printed; exit status 0 when all were found, else 1."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, structs

from fleetwire.errors import SettingsError
from storefleet.selftest.plants import PLANTS
from storefleet.selftest.selftest import Failure, SelfTest, self_test
from storefleet.verdict.check import check
from storefleet.verdict.history import History
from storefleet.verdict.run_folder import read_run

SHOWN_LINES: Final = 6


class Report(Struct, kw_only=True):
    """What the command says: the self-test with its run, in ``seconds``, and a command for every failure."""

    run: str
    events: int
    seconds: float
    result: SelfTest
    commands: list[str]

    @property
    def exit_status(self) -> int:
        """0 when every plant was found and nothing else was reported, and there was one at all."""
        return 0 if self.result.planted and not self.result.failures else 1


def play(folder: Path, *, seed: int, numbers: Sequence[int]) -> Report:
    """Plant these numbers into a recorded run; raises SettingsError for a folder that is no valid run."""
    begin_s = time.perf_counter()
    history = _valid_history(folder)
    result = self_test(history, seed=seed, numbers=numbers)
    return Report(
        run=str(folder),
        events=history.ledger.count if history.ledger else 0,
        seconds=round(time.perf_counter() - begin_s, 1),
        result=result,
        commands=[_command(folder, seed, failure) for failure in result.failures],
    )


def _valid_history(folder: Path) -> History:
    history, _ = read_run(folder)
    verdict = check(history)
    if verdict.validity != "valid":
        codes = [wrong.code for wrong in verdict.invalid] + [unsure.code for unsure in verdict.unknown]
        reasons = ", ".join(codes)
        raise SettingsError(f"run {folder} is {verdict.validity} ({reasons}): a self-test needs a valid run")
    return history


def _command(folder: Path, seed: int, failure: Failure) -> str:
    return f"storefleet selftest {shlex.quote(str(folder))} --seed {seed} --plant {failure.number}"


def as_values(report: Report) -> dict[str, Any]:
    """The report for programs."""
    result = report.result
    return {
        "run": report.run,
        "events": report.events,
        "seconds": report.seconds,
        "seed": result.seed,
        "planted": sum(result.planted.values()),
        "found": result.found,
        "with_foreign_stage": result.with_foreign_stage,
        "plants": result.planted,
        "impossible": result.impossible,
        "failures": [
            {**structs.asdict(failure), "command": command}
            for failure, command in zip(result.failures, report.commands, strict=True)
        ],
        "exit_status": report.exit_status,
    }


def show(report: Report, say: Callable[[str], None]) -> None:
    """The report for people."""
    result = report.result
    failed = {name: sum(failure.plant == name for failure in result.failures) for name in PLANTS}
    say(f"{report.run}: {report.events:,} events, valid; seed {result.seed}")
    say(f"{'anomaly':<36}{'planted':>8}{'found':>8}")
    for name in PLANTS:
        count = result.planted.get(name, 0)
        if count:
            say(f"{name:<36}{count:>8}{count - failed[name]:>8}")
    for name, why in result.impossible.items():
        say(f"not planted: {name}: {why}")
    for failure, command in zip(result.failures, report.commands, strict=True):
        _show_failure(failure, command, say)
    total = sum(result.planted.values())
    say(
        f"{result.found:,} of {total:,} found, each alone and in its place; {result.with_foreign_stage:,} were planted"
        f" beside a stage without a witness; {report.seconds:.1f} s"
    )


def _show_failure(failure: Failure, command: str, say: Callable[[str], None]) -> None:
    beside = f", {failure.foreign} without a witness" if failure.foreign else ""
    say(f"FAILED: {failure.plant}{beside}; repeat: {command}")
    for what, lines in (("not reported", failure.missing), ("reported beside", failure.surplus)):
        for line in lines[:SHOWN_LINES]:
            say(f"  {what}: {line}")
        if len(lines) > SHOWN_LINES:
            say(f"  {what}: {len(lines) - SHOWN_LINES} more")
