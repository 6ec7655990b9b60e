"""A short soak of a real lab by the real command, each time from the same seed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from storefleet.soak.schedule import PROCESSES
from tests.lab.command_line import CommandLine, read_verdict, until

SMALL = ("--stores", "4", "--rate", "40/s")
SEED = 7
SEEDED = ("--seed", SEED)
PATIENT = ("--converge-within", "30")
"""The lab is judged here, not this machine; ``scripts/soak`` itself holds 10 s."""
VIEWS = {"fleet", "orders", "sales", "store_board", "device_inventory", "gateway", "olympus_dgs"}
TIMEOUT_S = 200.0

pytestmark = pytest.mark.timeout(TIMEOUT_S + 40)


def soak(command_line: CommandLine, *options: object, status: int = 0) -> str:
    """Run it to its end; returns what it said."""
    done = subprocess.run(
        words(*options), cwd=command_line.folder, env=command_line.environment, capture_output=True, text=True,
        check=False, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    print(done.stdout, done.stderr)
    assert done.returncode == status
    return done.stdout


@contextmanager
def soaking(command_line: CommandLine, *options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run it in the background; what it says goes to ``said.txt``."""
    with (command_line.folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            words(*options), cwd=command_line.folder, env=command_line.environment, stdout=said, stderr=said,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        print((command_line.folder / "said.txt").read_text(encoding="utf-8"))


def words(*options: object) -> list[str]:
    """The command of a small soak."""
    return [sys.executable, "-P", "-m", "storefleet.soak", *SMALL, *map(str, options)]


def until_said(command_line: CommandLine, text: str) -> None:
    """Until the soak in the background has said this."""
    said = command_line.folder / "said.txt"
    until(lambda: text in said.read_text(encoding="utf-8"), f"it says: {text}", deadline_s=TIMEOUT_S / 2)


def found(command_line: CommandLine) -> dict[str, Any]:
    """``soak.json`` in the newest run folder."""
    report: dict[str, Any] = json.loads((command_line.run_folders()[-1] / "soak.json").read_text(encoding="utf-8"))
    return report


def test_a_lab_whose_processes_suffer_at_random_converges_in_time_and_stays_valid(command_line: CommandLine) -> None:
    """The lab is killed, then schedules of the seed hit it: nothing lost or doubled, nothing left running."""
    drawn = (*SEEDED, "--longest-pause", 4)
    said = soak(command_line, *PATIENT, *drawn, "--play", "kill lab at 0.5 s", "--minutes", 0.3)
    report = found(command_line)
    played = report["schedules"]
    assert report["hits"]["lab"]["kill"] >= 1
    assert all(set(one["converged_ms"]) == VIEWS for one in played)
    assert (report["validity"], report["failures"]) == ("valid", [])
    assert report["seed"] == SEED
    assert said.startswith(f"soak: seed {SEED}; again: scripts/soak --seed {SEED} ")
    command_line.until_nothing_is_left(within_s=20.0)
    again = soak(command_line, *drawn, "--list", 200).splitlines()
    assert (
        re.findall(r"^schedule [1-9]\d*: ((?:kill|pause|restart) .*)$", said, re.MULTILINE) == again[: len(played) - 1]
    )


def test_one_schedule_can_be_played_again_alone(command_line: CommandLine) -> None:
    """``--play`` plays exactly what was printed, and nothing else; figures of every process stand in the file."""
    schedule = "pause lab for 1.5 s at 0.1 s; restart views-1 at 0.4 s"
    said = soak(command_line, *PATIENT, *SEEDED, "--play", schedule)
    assert f"schedule 0: {schedule}\n" in said
    report = found(command_line)
    assert [(step["process"], step["kind"]) for step in report["schedules"][0]["steps"]] == [
        ("lab", "pause"),
        ("views-1", "restart"),
    ]
    assert len(report["schedules"]) == 1
    assert {row["process"] for row in report["growth"]} == set(PROCESSES)
    assert all(row["most_backlog"] is not None for row in report["growth"] if row["process"] == "parm-1")


def test_a_lab_that_does_not_converge_is_judged_and_the_next_schedule_gets_a_new_one(
    command_line: CommandLine,
) -> None:
    """Somebody kills the lab: that schedule failed, its command is printed, the soak goes on, and ends with status 1."""
    wounded = "pause views-1 for 6 s at 0.1 s"
    steps = ("--play", wounded, "--play", "kill parm-1 at 0.1 s")
    with soaking(command_line, *PATIENT, *SEEDED, *steps) as process:
        until_said(command_line, f"schedule 0: {wounded}")
        (name,) = [folder.name for folder in (command_line.home / "labs").iterdir()]
        assert command_line.attach(name).identities()["lab"].signal(signal.SIGKILL)
        assert process.wait(timeout=TIMEOUT_S) == 1
    report = found(command_line)
    (failure,) = report["failures"]
    assert failure["index"] == 0
    assert failure["command"].endswith(f" --play '{wounded}'")
    assert [lab["validity"] for lab in report["labs"]] == ["unknown", "valid"]
    assert set(report["schedules"][1]["converged_ms"]) == VIEWS
    command_line.until_nothing_is_left(within_s=20.0)


def test_a_soak_that_is_interrupted_before_its_lab_is_ready_has_not_begun(command_line: CommandLine) -> None:
    """Exit status 2, one line that says so, and nothing is left of the lab that was coming up."""
    with soaking(command_line) as process:
        until_said(command_line, "; starting")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=TIMEOUT_S) == 2
    assert (
        (command_line.folder / "said.txt")
        .read_text(encoding="utf-8")
        .endswith("\nstorefleet: stopped before a lab was ready\n")
    )
    command_line.until_nothing_is_left(within_s=20.0)


def test_an_interrupted_soak_ends_its_lab_in_order(command_line: CommandLine) -> None:
    """Ctrl-C while a process is paused: it is resumed, the lab drains and is judged, nothing is left."""
    with soaking(command_line, *SEEDED, "--play", "pause parm-1 for 20 s at 0.1 s") as process:
        until_said(command_line, "schedule 0:")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=TIMEOUT_S) == 3, "no schedule was played to its end"
    (folder,) = command_line.run_folders()
    assert read_verdict(folder)["validity"] != "invalid"
    assert (folder / "journeys.json").exists(), "it was read to the end"
    command_line.until_nothing_is_left(within_s=20.0)


def test_a_soak_that_is_told_twice_to_end_leaves_nothing(command_line: CommandLine) -> None:
    """SIGTERM is as good as a Ctrl-C; after a second one the lab is killed, with exit status 130."""
    with soaking(command_line, *SEEDED, "--play", "pause gateway-1 for 20 s at 0.1 s") as process:
        until_said(command_line, "schedule 0:")
        process.send_signal(signal.SIGTERM)
        until_said(command_line, "stopping: ")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=TIMEOUT_S) == 130
    command_line.until_nothing_is_left(within_s=20.0)


def test_without_hypothesis_it_says_what_to_install(command_line: CommandLine) -> None:
    """One line, exit status 2."""
    code = (
        "import runpy, sys; sys.modules['hypothesis'] = None; runpy.run_module('storefleet.soak', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=command_line.folder, env=command_line.environment,
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("storefleet: the soak needs Hypothesis: pip install 'storefleet[development]'")
    assert done.stderr.count("\n") == 1
