"""Commands that look at what is there: recorded runs, one event's journey, this machine, the checker itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NoReturn

import typer

from storefleet.command_options import (
    AllowOption,
    FleetOption,
    JsonOption,
    LabOption,
    PasswordOption,
    RunsOption,
    StoresOption,
    TerminalsOption,
)
from storefleet.command_output import fail, out, out_json, say_progress
from storefleet.endings import DID_NOT_BEGIN, UNKNOWN, decide


def verdict(
    run: Annotated[Path | None, typer.Argument(help="A run folder; default: the newest in runs/.")] = None,
    allow: AllowOption = None,
    spans: Annotated[
        bool, typer.Option("--spans", help="Name every hop and stage between the ends of a place.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Judge a run folder again, offline, from what it holds."""
    from storefleet.verdict.budgets import read_budgets

    folder = run if run is not None else _newest_run("verdict")
    _require_ended(folder)
    show_verdict(folder, json_output=json_output, allow=read_budgets(allow or ()), spans=spans)


def _newest_run(command: str) -> Path:
    from storefleet.run_folders import newest_run

    newest = newest_run(Path("runs"))
    if newest is None:
        fail(f"{command}: no run folder in ./runs; name one, or record one: storefleet demo")
    return newest


def _require_ended(folder: Path) -> None:
    """What a lab that runs has written so far proves nothing about what it is still to do."""
    from storefleet.process_journal import has_lab
    from storefleet.verdict.run_format import VERDICT_FILE_NAME

    if has_lab(folder) and not (folder / VERDICT_FILE_NAME).exists():
        fail(
            f"{folder}: its lab still runs, the verdict comes at its end: storefleet down; until then: status", UNKNOWN
        )


def show_verdict(
    folder: Path, *, json_output: bool, allow: Mapping[str, int] = MappingProxyType({}), spans: bool = False
) -> NoReturn:
    """Judge a run folder, print what came out, and end with its exit status."""
    from storefleet.verdict.run_folder import judge
    from storefleet.verdict.table import plain_text

    result, plan = judge(folder, allow)
    decide(result.exit_status)
    if json_output:
        out_json(result)
    else:
        out(plain_text(result, plan.name or folder.name, spans=spans))
        out(f"run folder: {folder}")
    raise SystemExit(result.exit_status)


def trace(
    key: Annotated[str | None, typer.Argument(help="An event's key, e.g. taco.west.s0042.r01.317.")] = None,
    last: Annotated[bool, typer.Option("--last", help="The newest event that went all the way.")] = False,
    run: Annotated[Path | None, typer.Option("--run", help="A run folder instead of a running lab.")] = None,
    name: LabOption = None,
    json_output: JsonOption = False,
) -> None:
    """One event's journey: every step, when it had the event and what it did, by all evidence that there is."""
    from storefleet.journey_table import journey_lines, journey_table, outcome_text, stranger_text
    from storefleet.panel import print_table
    from storefleet.recorded_journey import live_journey, recorded_journey

    if (key is None) == (not last):
        fail("trace: give either a key or --last")
    journey = recorded_journey(run, key) if run is not None else live_journey(name, key)
    if json_output:
        out_json(journey)
    elif not journey.seen:
        fail(f"trace: {stranger_text(journey)}", UNKNOWN)
    else:
        print_table(journey_table(journey), narrow=journey_lines(journey))
        out(outcome_text(journey.outcome))


def doctor(
    stores: StoresOption = None,
    terminals_per_store: TerminalsOption = None,
    fleet: FleetOption = None,
    runs: RunsOption = Path("runs"),
    json_output: JsonOption = False,
) -> None:
    """Is this machine fit for a lab of this fleet, and how many terminals fit here?"""
    from storefleet.doctor import examine
    from storefleet.lab_options import read_fleet

    asked = read_fleet(fleet, {"stores": stores, "terminals_per_store": terminals_per_store})
    findings = examine(runs, asked.size)
    if json_output:
        out_json(findings)
    else:
        for finding in findings:
            mark = "ok  " if finding.ok else "FAIL"
            out(
                f"{mark}  {finding.check:<12} {finding.found}"
                + (f"  -> {finding.advice}" if finding.advice and not finding.ok else "")
            )
    raise SystemExit(0 if all(finding.ok for finding in findings) else DID_NOT_BEGIN)


def clean(
    broker_password_file: PasswordOption = None,
    json_output: JsonOption = False,
) -> None:
    """End what crashed labs left running, and clear their retained topics on somebody else's broker."""
    from storefleet.cleaning import clean_up
    from storefleet.lab_options import take_password

    report = clean_up(take_password(broker_password_file))
    if json_output:
        out_json(report)
    for line in report if not json_output else ():
        out(line)


def bench(
    only: Annotated[list[str] | None, typer.Option("--only", help="Run only these parts.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller shapes, for a first impression.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Measure: every figure beside its baseline from the same run."""
    from storefleet.bench.command import run_bench

    run_bench(only=only or [], quick=quick, as_json=json_output, say=say_progress, out=out)


def selftest(
    run: Annotated[Path | None, typer.Argument(help="A valid run folder; default: the newest in runs/.")] = None,
    plants: Annotated[int, typer.Option("--plants", min=1, max=1_000_000, help="How many anomalies.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same places.")] = 1,
    plant: Annotated[int | None, typer.Option("--plant", min=0, help="Only the plant of this number.")] = None,
    make_run: Annotated[Path | None, typer.Option("--make-run", help="Only write a large healthy run there.")] = None,
    events: Annotated[int, typer.Option("--events", min=1, help="Events of --make-run.")] = 20_000,
    sources: Annotated[int, typer.Option("--sources", min=1, help="Terminals of --make-run.")] = 600,
    json_output: JsonOption = False,
) -> None:
    """Does the checker find what is wrong? Plants anomalies into a recorded run, one at a time; 1: one was not found."""
    from storefleet.selftest.command import as_values, play, show
    from storefleet.selftest.made_run import make_run as write_run

    if make_run is not None:
        write_run(make_run, events=events, sources=sources)
        out(f"run folder: {make_run}")
        return
    folder = run if run is not None else _newest_run("selftest")
    _require_ended(folder)
    report = play(folder, seed=seed, numbers=range(plants) if plant is None else [plant])
    if json_output:
        out_json(as_values(report))
    else:
        show(report, out)
    raise SystemExit(report.exit_status)
