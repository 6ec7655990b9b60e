"""Stages left out, doubled, or somebody else's: what is absent is not lost or unknown; what is foreign is judged."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.command_line import REPOSITORY, CommandLine, until

EXAMPLE = REPOSITORY / "examples" / "my_parm.py"
FLEET = REPOSITORY / "examples" / "one_brand.toml"
COMMAND = shlex.join([sys.executable, str(EXAMPLE)])


@pytest.mark.parametrize(
    ("absent", "views"),
    [
        ("views", ["gateway", "orders", "tills", "olympus_dgs"]),
        ("olympus-dgs", ["gateway", "orders", "tills", "sales", "store_board"]),
        ("poseidon", ["gateway", "olympus_dgs"]),
        ("sync_stage", ["canonical"]),
        ("parm", ["raw"]),
    ],
)
def test_the_last_stage_present_answers(command_line: CommandLine, absent: str, views: list[str]) -> None:
    """Without a stage and what is behind it, every event is resolved and what is left is judged valid."""
    lab = command_line.up("--without", absent)
    lab.wait_for_trade()
    verdict = lab.down()
    assert [view["view"] for view in verdict["views"]] == views
    assert all(view["validity"] == "valid" for view in verdict["views"])
    assert verdict["counts"]["ok"] == verdict["sent"] >= 40


def test_two_instances_share_the_work(command_line: CommandLine) -> None:
    """With two PARMs and two sync stages all four take part, and the verdict is valid."""
    lab = command_line.up("--instances", "parm=2", "--instances", "sync-stage=2", "--keep", "all")
    lab.wait_for_trade(total=100)
    assert lab.down()["validity"] == "valid"
    lines = (lab.run_folder / "witnesses.jsonl").read_text(encoding="utf-8").splitlines()
    busy = {(one["stage"], one["instance"]) for one in map(json.loads, lines) if one.get("taken")}
    assert busy >= {("parm", 1), ("parm", 2), ("sync_stage", 1), ("sync_stage", 2)}


def test_a_transformer_that_imports_nothing_of_ours_takes_parms_place(command_line: CommandLine) -> None:
    """The example on paho-mqtt is started and supervised, also after a kill -9, and the verdict is valid."""
    ours = {"fleetwire", "emulator", "parm_stub", "consumers", "chaos", "storefleet"}
    imported = {line.split()[1].partition(".")[0] for line in EXAMPLE.read_text(encoding="utf-8").splitlines()
                if line.startswith(("import ", "from "))}  # fmt: skip
    assert not imported & ours
    lab = command_line.up("--stage", f"parm={COMMAND}", "--fleet", FLEET)
    lab.wait_for_trade(total=60)
    lab.kill("parm-1")
    total = lab.stage("emulator")["total"]
    lab.wait_for_trade(total=total + 60)
    verdict = lab.down()
    assert verdict["validity"] == "valid"
    assert [view["view"] for view in verdict["views"]] == ["gateway", "orders", "tills", "sales"]


def test_an_external_stage_is_waited_for(command_line: CommandLine) -> None:
    """``parm=external`` writes an .env file; once somebody runs the stage with it, the lab is ready."""
    arguments = ("up", "--fleet", FLEET, "--rate", "40/s", "--name", "lab", "--runs", "runs", "--detach")
    with command_line.running(*arguments, "--stage", "parm=external") as waiting:
        until(lambda: "waiting until somebody runs parm" in command_line.errors, "it says what it waits for")
        (env_file,) = command_line.runs.glob("*/parm-1.env")
        assert str(env_file) in command_line.errors
        with foreign_stage(env_file, command_line):
            assert waiting.wait(60) == 0
            lab = command_line.attach("lab")
            lab.wait_for_trade()
            verdict = lab.down()
    assert (verdict["validity"], verdict["counts"]["ok"]) == ("valid", verdict["sent"])


class foreign_stage:  # noqa: N801 - used like a function
    """The example, run by somebody else with the lab's .env file."""

    def __init__(self, env_file: Path, command_line: CommandLine) -> None:
        lines = env_file.read_text(encoding="utf-8").splitlines()
        pairs = (line.partition("=") for line in lines)
        self._environment = {name: "".join(shlex.split(value)) for name, _, value in pairs}
        self._folder = command_line.folder

    def __enter__(self) -> None:
        environment = {**os.environ, **self._environment}
        self._process = subprocess.Popen([sys.executable, str(EXAMPLE)], cwd=self._folder, env=environment)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("parm=/nowhere/my_parm", "/nowhere/my_parm"),
        (f"parm={sys.executable} -c 'raise SystemExit(7)'", "exit status 7"),
        ("parm=", "expected NAME=COMMAND"),
        ("purm=external", "no such stage"),
    ],
)
def test_a_stage_that_cannot_run_is_one_line_and_status_2(command_line: CommandLine, command: str, says: str) -> None:
    """What does not begin says why in its last line, leaves an unknown verdict if it got that far, and no process."""
    done = command_line.run("up", "--stores", 3, "--runs", command_line.runs, "--stage", command, status=2)
    assert says in done.stderr.splitlines()[-1]
    assert len([line for line in done.stderr.splitlines() if line.startswith("storefleet:")]) == 1
    command_line.until_nothing_is_left(within_s=20.0)
    for folder in command_line.run_folders():
        assert json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["validity"] == "unknown"
