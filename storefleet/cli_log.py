"""The command that tells what happened in a run, in order: of a lab that runs, or of any run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from storefleet.command_options import LabOption
from storefleet.command_output import fail, out, out_json_line, say_progress


def log(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run folder; default: the lab that runs, or else the newest run in runs/."),
    ] = None,
    name: LabOption = None,
    troubles: Annotated[bool, typer.Option("--troubles", help="Only what went wrong, and when it was over.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="JSON lines for programs, one a happening.")] = False,
) -> None:
    """What happened, in order: starts and ends with their reasons, faults, standstills, views behind and back, troubles."""
    from storefleet.log_lines import happenings_of, lines
    from storefleet.verdict.log_file import is_about_trouble

    if run is not None and name is not None:
        fail("log: give either a run folder or --name")
    folder = run if run is not None else _folder(name)
    told = happenings_of(folder)
    wanted = [one for one in told.happenings if not troubles or is_about_trouble(one)]
    if json_output:
        for happening in wanted:
            out_json_line(happening)
        return
    out(f"run folder: {folder}")
    if told.derived:
        say_progress("this run has no log; what its plan.json and processes.jsonl tell:")
    for line in lines(wanted):
        out(line)


def _folder(name: str | None) -> Path:
    """Of the lab of that name, or of the one that there is; else the newest run."""
    from storefleet import home
    from storefleet.run_folders import newest_run
    from storefleet.unfinished_runs import LAB_FILE_NAME

    if name is None and not home.lab_names():
        newest = newest_run(Path("runs"))
        if newest is None:
            fail("log: no lab runs here, and no run folder is in ./runs; name one, or start a lab: storefleet up")
        return newest
    lab_file = home.lab_folder(home.the_lab(name)) / LAB_FILE_NAME
    return Path(home.read_json(lab_file)["run_folder"])
