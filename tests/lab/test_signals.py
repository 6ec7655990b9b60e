"""Ctrl-C and SIGTERM at every phase: nothing is left running, the run folder is complete, the verdict is honest."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from storefleet.process_identity import ProcessIdentity
from tests.lab.command_line import DEADLINE_S, CommandLine, read_verdict, until

UP = ("up", "--stores", 3, "--rate", "40/s", "--name", "lab", "--runs", "runs")


def assert_complete(command_line: CommandLine) -> Path:
    """Nothing runs any more, and the one run folder holds plan and verdict; returns it."""
    command_line.until_nothing_is_left(within_s=20.0)
    (folder,) = command_line.run_folders()
    json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    assert (folder / "junit.xml").exists()
    assert not (command_line.home / "labs" / "lab").exists()
    return folder


def end(process: subprocess.Popen[str], number: signal.Signals) -> int:
    """Send a signal and wait for the end; returns the exit status."""
    process.send_signal(number)
    return process.wait(DEADLINE_S)


@pytest.mark.parametrize(
    ("log", "number"),
    [
        ("broker-1", signal.SIGINT),
        ("chaos-1", signal.SIGTERM),
        ("views-1", signal.SIGINT),
        ("emulator-1", signal.SIGTERM),
    ],
)
def test_a_signal_while_starting_leaves_an_unknown_verdict(
    command_line: CommandLine, log: str, number: signal.Signals
) -> None:
    """Stopped as soon as a certain process has been started, it did not begin, in one line, and accuses no stage."""
    with command_line.running(*UP) as process:
        until(lambda: list(command_line.runs.glob(f"*/logs/{log}.log")), f"{log} is started")
        status = end(process, number)
    folder = assert_complete(command_line)
    verdict = read_verdict(folder)
    assert verdict["validity"] == {0: "valid", 2: "unknown"}[status]
    if status == 2:
        assert [line for line in command_line.errors.splitlines() if line.startswith("storefleet: ")] == [
            f"storefleet: stopped before the lab was ready; nothing was traded; its logs: {folder}/logs"
        ]
        assert "stage_dead" not in {reason["code"] for reason in verdict["unknown"]}


def test_a_signal_while_trading_drains_and_judges(command_line: CommandLine) -> None:
    """One Ctrl-C while trading ends with a valid verdict, since everything drains."""
    with command_line.running(*UP) as process:
        until(lambda: "trading:" in command_line.output, "the lab is up")
        command_line.attach("lab").wait_for_trade()
        status = end(process, signal.SIGINT)
    verdict = read_verdict(assert_complete(command_line))
    assert (status, verdict["validity"]) == (0, "valid"), verdict["unknown"]
    assert verdict["sent"] > 0


def test_a_signal_while_a_fault_is_on_heals_it_first(command_line: CommandLine) -> None:
    """SIGTERM during the demo's outage: the fault is lifted, what was traded offline arrives, the verdict is valid."""
    with command_line.running("demo", "--stores", 4, "--rate", "40/s", "--name", "lab", "--runs", "runs") as process:
        until(lambda: "faults on:" in command_line.output, "the fault is on")
        status = end(process, signal.SIGTERM)
    folder = assert_complete(command_line)
    assert (status, read_verdict(folder)["validity"]) == (0, "valid")
    (fault,) = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["faults"]
    assert fault["end_ms"] > fault["begin_ms"]


def test_a_second_signal_ends_at_once_with_130(command_line: CommandLine) -> None:
    """While a stage that stands still keeps the lab from draining, a second Ctrl-C ends everything."""
    with command_line.running(*UP) as process:
        until(lambda: "ready in" in command_line.output, "it trades")
        rows = json.loads((command_line.home / "labs" / "lab" / "processes.json").read_text(encoding="utf-8"))
        parm = next(row for row in rows if row["name"] == "parm-1")
        ProcessIdentity(parm["process_id"], parm["started"]).signal(signal.SIGSTOP)
        until(lambda: command_line.json("status")["picture"]["distances"]["orders"] > 100, "events wait for PARM")
        process.send_signal(signal.SIGINT)
        until(lambda: "wait for recovery:" in command_line.output, "it drains")
        status = end(process, signal.SIGINT)
    assert status == 130
    assert read_verdict(assert_complete(command_line))["validity"] == "unknown"


def test_a_signal_to_a_detaching_command_ends_its_lab(command_line: CommandLine) -> None:
    """Stopped while it waits for its lab, which waits for somebody's PARM, ``up --detach`` takes the lab with it."""
    with command_line.running(*UP, "--detach", "--stage", "parm=external") as process:
        until(lambda: "waiting until somebody runs parm" in command_line.errors, "the lab waits")
        status = end(process, signal.SIGINT)
    assert status == 2
    assert read_verdict(assert_complete(command_line))["validity"] == "unknown"
