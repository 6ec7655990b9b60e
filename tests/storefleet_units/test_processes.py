"""The gate in front of every process of a lab, nothing begins before it is written down who it is; and starting again."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from storefleet import processes
from storefleet.process_identity import identify
from storefleet.process_journal import ProcessJournal
from storefleet.processes import BEHIND_A_GATE, Child, Processes
from tests.storefleet_units.noted import Noted

DEADLINE_S = 60.0


@pytest.mark.parametrize(("said", "begins"), [(b"", False), (b"\n", True)], ids=["its lab died", "its lab lives"])
def test_a_process_begins_when_its_lab_says_so(tmp_path: Path, said: bytes, begins: bool) -> None:
    """Without a word it ends and never becomes what it was to be; with it, it does, under the same identity."""
    made = tmp_path / "made"
    command = (*BEHIND_A_GATE, "sh", "-c", 'echo $$ > "$1"; test "$0" = "a b" && ! read -r _', "a b", str(made))
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        identity = identify(process.pid)
        process.communicate(said, timeout=DEADLINE_S)
    assert (process.returncode == 0, made.exists()) == (begins, begins)
    if begins:
        assert int(made.read_text(encoding="utf-8")) == identity.process_id


async def test_a_program_that_vanished_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its one end is counted once, however often it cannot be started; when it is there again, so is the process."""
    monkeypatch.setattr(processes, "RESTART_DELAY_MINIMUM_S", 0.01)
    monkeypatch.setattr(processes, "RESTART_DELAY_MAXIMUM_S", 0.01)
    program = tmp_path / "program"
    write_program(program, 'rm "$0"; exit 7')
    with contextlib.closing(ProcessJournal(tmp_path)) as journal:
        async with Processes(tmp_path, journal) as driver:
            child = Child(
                name="one-1", command=(str(program),), environment=lambda _: {}, log_file=tmp_path / "one-1.log"
            )
            await driver.start(child)
            await until(lambda: caplog.text.count("cannot be started again") >= 5)
            assert (journal.exits["one-1"], child.incarnation, child.restarts) == (["exit status 7"], 1, 0)
            write_program(program, "exec sleep 600")
            await until(lambda: child.running)
            assert (journal.exits["one-1"], child.incarnation, child.restarts) == (["exit status 7"], 2, 1)


async def test_none_is_started_again_once_the_start_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error that ended the start has said it all: the next end of a process is told nobody."""
    monkeypatch.setattr(processes, "RESTART_DELAY_MINIMUM_S", 0.01)
    monkeypatch.setattr(processes, "RESTART_DELAY_MAXIMUM_S", 0.01)
    with contextlib.closing(ProcessJournal(tmp_path)) as journal:
        async with Processes(tmp_path, journal) as driver:
            child = Child(
                name="one-1", command=("sh", "-c", "read -r _"), environment=lambda _: {}, log_file=tmp_path / "log"
            )
            await driver.start(child)
            await until(lambda: child.restarts >= 2)
            driver.start_none_again()
            told = caplog.text
            await until(lambda: not child.running)
            await asyncio.wait_for(driver._supervisors["one-1"], DEADLINE_S)
            assert caplog.text == told


async def test_why_a_process_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal, or the exit status and the last words of that life, without its secrets; each end and start is told."""
    monkeypatch.setattr(processes, "RESTART_DELAY_MINIMUM_S", 0.01)
    monkeypatch.setattr(processes, "RESTART_DELAY_MAXIMUM_S", 0.01)
    lives = ("echo begin >&2; kill -9 $$", "exit 3", "echo not authorized: hush-hush >&2; exit 2", "exec sleep 600")
    noted, folder = Noted(), tmp_path / "lives"
    folder.mkdir()
    for number, life in enumerate(lives, start=1):
        (folder / str(number)).write_text(life, encoding="utf-8")
    with contextlib.closing(ProcessJournal(tmp_path)) as journal:
        async with Processes(tmp_path, journal, noted.note, lambda name: ["hush-hush", name]) as driver:
            command = ("sh", "-c", f'. {folder}/"$LIFE"')
            child = Child(
                name="one-1", command=command, environment=lambda life: {"LIFE": str(life)}, log_file=tmp_path / "log"
            )
            await driver.start(child)
            await until(lambda: child.incarnation == len(lives) and child.running)
        reasons = ["signal SIGKILL", "exit status 3", "exit status 2: not authorized: ***"]
        assert journal.exits["one-1"] == reasons
    ends = [[("end", "one-1", reason), ("restart", "one-1", f"after {reason}")] for reason in reasons]
    assert noted.told() == [
        ("start", "lab", ""),
        ("start", "one-1", ""),
        *(happening for pair in ends for happening in pair),
        ("stop", "one-1", "signal SIGTERM"),
    ]


async def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    """It is named, and the start is not counted."""
    with contextlib.closing(ProcessJournal(tmp_path)) as journal:
        async with Processes(tmp_path, journal) as driver:
            gone = Child(
                name="one-1", command=("sh",), environment=lambda _: {}, log_file=tmp_path / "log",
                working_folder=tmp_path / "gone",
            )  # fmt: skip
            with pytest.raises(OSError, match=r"there is no folder .*gone"):
                await driver.start(gone)
            assert (gone.starts, journal.start("one-1")) == (0, 1)


def write_program(path: Path, text: str) -> None:
    """A shell script that can be run, there as a whole or not at all."""
    written = path.with_name("written")
    written.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    written.chmod(0o755)
    written.replace(path)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)
