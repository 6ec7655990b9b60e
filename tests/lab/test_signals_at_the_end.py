"""Ctrl-C after the drain: in the final reads, in the stop, in the check; each phase is held by something real.

A stage that stands still holds the final reads, a user's stage that ignores SIGTERM holds the stop, and a named pipe in
place of the report, which nobody reads yet, holds the check.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from storefleet import run as run_module
from storefleet.conductor import Stopped
from storefleet.run import Run
from storefleet.run_record import RunRecord
from storefleet.verdict.result import Verdict
from storefleet.verdict.run_folder import judge_folder
from tests.lab.command_line import DEADLINE_S, CommandLine, read_verdict, until
from tests.lab.test_broken_scripts import played, until_traded

STUBBORN = Path(__file__).with_name("stubborn_stage.py")
UP = ("up", "--stores", 2, "--rate", "40/s", "--name", "lab", "--runs", "runs", "--keep", "all")
FILES = {"plan.json", "ledger.sqlite", "witnesses.jsonl", "reads.json", "verdict.json", "junit.xml", "report.txt"}


def record_of(command_line: CommandLine) -> RunRecord:
    """The plan.json of the one run."""
    (folder,) = command_line.run_folders()
    return msgspec.json.decode((folder / "plan.json").read_bytes(), type=RunRecord)


def in_phase(command_line: CommandLine, name: str) -> bool:
    """Whether the run is in this phase by its plan.json."""
    return record_of(command_line).phases[-1].name == name


def hold(command_line: CommandLine, phase: str) -> Callable[[], None]:
    """Make a phase last; what is returned lets it go on."""
    if phase == "final reads":  # the terminal inventory is waited for as long as --drain says, then for its final read
        olympus = command_line.attach("lab").identities()["olympus_dgs-1"]
        olympus.signal(signal.SIGSTOP)
        return lambda: olympus.signal(signal.SIGCONT)
    if phase == "stop":
        return (command_line.folder / "let-go").touch
    (folder,) = command_line.run_folders()
    report = folder / "report.txt"
    os.mkfifo(report)

    def read_report() -> None:
        content = report.read_bytes()
        report.unlink()
        report.write_bytes(content)

    return read_report


def assert_complete(command_line: CommandLine) -> Path:
    """Nothing runs any more, the lab is forgotten, and every file of the run folder can be read; returns it."""
    command_line.until_nothing_is_left(within_s=20.0)
    assert not (command_line.home / "labs" / "lab").exists()
    (folder,) = command_line.run_folders()
    assert {path.name for path in folder.iterdir()} >= FILES
    ElementTree.fromstring((folder / "junit.xml").read_text(encoding="utf-8"))
    assert read_verdict(folder)["validity"].upper() in (folder / "report.txt").read_text(encoding="utf-8")
    return folder


def trade(command_line: CommandLine) -> None:
    """Until something was traded."""
    until(lambda: "trading:" in command_line.output, "it trades")
    command_line.attach("lab").wait_for_trade(total=10)


def interrupt(command_line: CommandLine, process: subprocess.Popen[str], answer: str) -> None:
    """One Ctrl-C, and wait until the lab has said that it has heard it."""
    process.send_signal(signal.SIGINT)
    until(lambda: answer in command_line.output, f"it has heard the signal: {answer}")


@pytest.mark.parametrize(
    ("phase", "validity", "options"),
    [
        ("final reads", "unknown", ("--without", "poseidon")),
        ("stop", "valid", ("--without", "poseidon", "--stage", f"olympus_dgs={sys.executable} {STUBBORN} let-go")),
        ("check", "valid", ("--without", "parm")),
    ],
)
def test_a_second_ctrl_c_at_the_end(
    command_line: CommandLine, phase: str, validity: str, options: tuple[str, ...]
) -> None:
    """It ends with 130; the verdict says what was proven: all of it, once the final reads were complete."""
    with command_line.running(*UP, *options) as process:
        trade(command_line)
        release = hold(command_line, phase)
        interrupt(command_line, process, "stopping:")
        until(lambda: in_phase(command_line, phase), f"it is in the phase {phase}")
        interrupt(command_line, process, "stopping at once")
        if phase == "check":
            release()
        status = process.wait(DEADLINE_S)
    verdict = read_verdict(assert_complete(command_line))
    assert (status, verdict["validity"]) == (130, validity)
    assert verdict["sent"] >= 10
    assert "Traceback" not in command_line.errors


def test_a_first_ctrl_c_while_down_ends_the_lab(command_line: CommandLine) -> None:
    """The lab is ending already: the run goes on to its verdict, which is the exit status of both commands."""
    with command_line.running(*UP, "--drain", "5s") as process:
        trade(command_line)
        lab = command_line.attach("lab")
        lab.pause()
        lab.until_unresolved()
        command_line.run("wait", "--name", lab.name, "--converged", "--timeout", "60s")
        release = hold(command_line, "final reads")
        with command_line.running("down", "--timeout", "120s") as down:
            until(lambda: in_phase(command_line, "final reads"), "it is in its final reads")
            interrupt(command_line, process, "stopping:")
            release()
            assert (process.wait(DEADLINE_S), down.wait(DEADLINE_S)) == (0, 0)
    folder = assert_complete(command_line)
    assert (read_verdict(folder)["validity"], record_of(command_line).interrupted) == ("valid", True)
    reads = json.loads((folder / "reads.json").read_text(encoding="utf-8"))["views"]
    assert {view: read["unreached"] for view, read in reads.items() if read["events"] is not None} == {
        "orders": {}, "sales": {}, "gateway": None,
    }  # fmt: skip


@pytest.mark.parametrize("phase", ["final reads", "stop", "check"])
async def test_a_ctrl_c_after_the_script_has_ended(tmp_path: Path, phase: str) -> None:
    """A run that ends by itself, such as the demo, is not cut short by a first Ctrl-C then: its verdict stays whole."""

    async def script(run: Run) -> None:
        await until_traded(run)
        enter = run.enter

        def enter_and_interrupt(name: str) -> None:
            enter(name)
            if name == phase:
                os.kill(os.getpid(), signal.SIGINT)

        run.enter = enter_and_interrupt  # type: ignore[method-assign]

    folder, verdict = await played(tmp_path, script)
    assert verdict.validity == "valid"
    record = msgspec.json.decode((folder / "plan.json").read_bytes(), type=RunRecord)
    assert (record.interrupted, record.aborted) == (False, False)
    assert [entry.name for entry in record.phases] == [
        "starting", "trading", "wait for recovery", "final reads", "stop", "check",
    ]  # fmt: skip


async def test_a_run_that_is_stopped_in_its_check_is_judged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge at work is waited for: no second one writes the same files at the same time."""
    judged: list[Path] = []
    told = threading.Event()

    def judge(folder: Path) -> Verdict:
        judged.append(folder)
        for number in (signal.SIGINT, signal.SIGTERM):  # two of one kind may arrive as one
            os.kill(os.getpid(), number)
        assert told.wait(DEADLINE_S)
        return judge_folder(folder)

    def say(text: str) -> None:
        if text.startswith("stopping at once"):
            loop = asyncio.get_running_loop()
            loop.call_later(0.1, told.set)  # by then the run has heard it

    async def script(run: Run) -> None:
        await until_traded(run)
        run.display.say = say  # type: ignore[method-assign]

    monkeypatch.setattr(run_module, "judge_folder", judge)
    with pytest.raises(Stopped):
        await played(tmp_path, script)
    assert len(judged) == 1
    assert read_verdict(judged[0])["validity"] == "valid"
